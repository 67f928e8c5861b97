"""Queues as such over PostgreSQL; see `store.queues`."""

from collections.abc import Mapping, Sequence
from typing import Any

from queued.core.model import NewJob
from queued.core.queue_defaults import admitted
from queued.core.records import Queue, Share
from queued.store.postgres.connection import Database

SKIPPED_MS = 100  # until rows that others have locked are looked at again


class LedgerQueues:
    """A `QueueLedger`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.limited = frozenset[str]()  # at the last call of `all`
        self._retry_ms: int | None = None  # see `take_retry_ms`

    def all(self) -> list[Queue]:
        """See `QueueLedger.all`."""
        found = [Queue(*row) for row in self._database.rows("queues")]
        self.limited = frozenset(one.name for one in found if one.concurrency is not None)
        return found

    def ready_lanes(self) -> list[int]:
        """See `QueueLedger.ready_lanes`."""
        return [lane for (lane,) in self._database.rows("ready_lanes")]

    def used_places(self) -> dict[str, int]:
        """See `QueueLedger.used_places`."""
        return dict(self._database.rows("used_places"))

    def take_retry_ms(self) -> int | None:
        """See `QueueLedger.take_retry_ms`."""
        retry_ms, self._retry_ms = self._retry_ms, None
        return retry_ms

    def lock_limits(self, shares: Sequence[Share], now_ms: int) -> dict[str, tuple[int, int]]:
        """Locks the limits of queues; returns each limit, and how many places are free.

        Leaves out queues without a ready job or a free place, and those whose limit another session
        has locked.
        """
        lanes = [(share.queue, lane) for share in shares for lane in share.lanes]
        if not lanes:
            return {}
        names, numbers = [queue for queue, _ in lanes], [lane for _, lane in lanes]
        rows = self._database.rows("lock_limits", queues=names, lanes=numbers)
        mosts: dict[str, int] = {name: most for name, most in rows if most is not None}
        if len(mosts) < len(rows):
            self._retry_ms = now_ms + SKIPPED_MS
        used = self.used_places() if mosts else {}
        return {
            name: (most, most - used.get(name, 0))
            for name, most in mosts.items()
            if most > used.get(name, 0)
        }


class StoreQueues:
    """A `QueueStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Queue]:
        """See `QueueStore.all`."""
        with self._database.reading():
            return [Queue(*row) for row in self._database.rows("queues")]

    def used_places(self) -> dict[str, int]:
        """See `QueueStore.used_places`."""
        with self._database.reading():
            return dict(self._database.rows("used_places"))

    def oldest_ready(self) -> dict[str, int]:
        """See `QueueStore.oldest_ready`."""
        with self._database.reading():
            return dict(self._database.rows("oldest_ready"))

    def change(self, name: str, **changes: Any) -> Queue:  # noqa: ANN401 - fields of Queue
        """See `QueueStore.change`."""
        with self._database.transaction("operator"):
            queue = self._change(name, changes)
        self._await_claims()
        return queue

    def change_each(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """See `QueueStore.change_each`."""
        with self._database.transaction("operator"):
            for name in sorted(changes):  # in one order, so that no two transactions deadlock
                self._change(name, changes[name])
        self._await_claims()

    def _await_claims(self) -> None:
        """Waits for claims that do not see the change; none begins after it has returned."""
        with self._database.reading():
            instances = self._database.rows("instances")
        for instance in instances:  # each alone, so that no turn waits for that of another
            with self._database.transaction("operator"):
                self._database.run("await_claims", id=instance[0])
        self._database.notify("notify_all")

    def _change(self, name: str, changes: Mapping[str, Any]) -> Queue:
        row = self._database.row("lock_queue", queue=name)
        queue = Queue(*row or (name,))._replace(**changes)
        values = queue._asdict()
        self._database.run("store_queue", queue=values.pop("name"), **values)
        return queue

    def admit(self, jobs: Sequence[NewJob]) -> list[NewJob]:
        """See `queue_defaults.admitted`."""
        rows = self._database.rows("queues_of", queues=[*{job.queue for job in jobs}])
        return admitted(jobs, {row[0]: Queue(*row) for row in rows})

    def key_users(self, key: str) -> list[str]:
        """See `QueueStore.key_users`."""
        with self._database.reading():
            return [row[0] for row in self._database.rows("key_places", key=key)]

    def remove(self, name: str) -> bool:
        """See `QueueStore.remove`."""
        with self._database.transaction("operator"):
            found = self._database.row("remove_queue", queue=name) is not None
        self._database.notify("notify_all")
        return found
