"""Queues as such over PostgreSQL; see `store.queues`."""

from collections.abc import Sequence
from typing import Any

from queued.core.model import NewJob
from queued.core.queue_defaults import admitted
from queued.core.records import Queue
from queued.store.postgres.connection import Database


class LedgerQueues:
    """A `QueueLedger`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.limited = frozenset[str]()  # at the last call of `all`

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

    def change(self, name: str, **changes: Any) -> Queue:  # noqa: ANN401 - fields of Queue
        """See `QueueStore.change`."""
        with self._database.transaction("operator"):
            row = self._database.row("lock_queue", queue=name)
            queue = Queue(*row or (name,))._replace(**changes)
            values = queue._asdict()
            self._database.run("store_queue", queue=values.pop("name"), **values)
        self._database.notify("notify_all")
        return queue

    def admit(self, jobs: Sequence[NewJob]) -> list[NewJob]:
        """Returns new jobs with the defaults of their queues. Raises ConflictError."""
        rows = self._database.rows("queues_of", queues=[*{job.queue for job in jobs}])
        return admitted(jobs, {row[0]: Queue(*row) for row in rows})

    def remove(self, name: str) -> bool:
        """See `QueueStore.remove`."""
        with self._database.transaction("operator"):
            found = self._database.row("remove_queue", queue=name) is not None
        self._database.notify("notify_all")
        return found
