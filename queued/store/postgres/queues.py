"""Queues as such over PostgreSQL; see `store.queues`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from queued.core.errors import BusyError
from queued.core.model import NewJob
from queued.core.queue_defaults import admitted
from queued.core.rates import Rate
from queued.core.records import MANY, Queue, Share, StartWindow
from queued.store.postgres.connection import Database
from queued.store.rates import Rates

SKIPPED_MS = 100  # until rows that others have locked are looked at again


class Room(NamedTuple):
    """What the limits of a queue allow, whose row this transaction has locked.

    `most`, `free`: its limit of running jobs, and how many places of it are free; -1 without one.
    `rate`: the starts of its rate, of which `starts` are left; -1 without one.
    """

    most: int = -1
    free: int = -1
    rate: int = -1
    starts: int = MANY


class LedgerQueues:
    """A `QueueLedger`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.rates = Rates(database)
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

    def full_rates(self, queues: Iterable[str], now_ms: int) -> dict[str, StartWindow]:
        """See `QueueLedger.full_rates`."""
        return self.rates.full(queues, now_ms)

    def take_retry_ms(self) -> int | None:
        """See `QueueLedger.take_retry_ms`."""
        retry_ms, self._retry_ms = self._retry_ms, None
        return retry_ms

    def retry(self, at_ms: int) -> None:
        """Lets `take_retry_ms` return this time, or an earlier one."""
        self._retry_ms = at_ms if self._retry_ms is None else min(at_ms, self._retry_ms)

    def rate_waits(self, lanes: Iterable[int]) -> bool:
        """See `QueueLedger.rate_waits`."""
        return bool(self._database.value("rate_waits", lanes=[*lanes]))

    def time_waits(self, lanes: Iterable[int], by_ms: int) -> bool:
        """See `QueueLedger.time_waits`."""
        return bool(self._database.value("time_waits", lanes=[*lanes], by=by_ms))

    def lock_limits(self, shares: Sequence[Share], now_ms: int) -> dict[str, Room]:
        """Locks the limits of queues; returns what they allow.

        Leaves out queues without a ready job, a free place, or a start that the rate allows, and
        those whose limits another session has locked.
        """
        lanes = [(share.queue, lane) for share in shares for lane in share.lanes]
        if not lanes:
            return {}
        names, numbers = [queue for queue, _ in lanes], [lane for _, lane in lanes]
        rows = self._database.rows("lock_limits", queues=names, lanes=numbers)
        held = {name: limits for name, is_held, *limits in rows if is_held}
        if len(held) < len(rows):
            self.retry(now_ms + SKIPPED_MS)
        mosts = {name: most for name, (most, _) in held.items() if most is not None}
        rates = {name: rate for name, (_, rate) in held.items() if rate is not None}
        used = self.used_places() if mosts else {}
        windows = self.rates.windows(rates, now_ms) if rates else {}
        rooms = {name: Room() for name in held}
        for name, most in mosts.items():
            rooms[name] = Room(most, max(0, most - used.get(name, 0)))
        for name, rate in rates.items():
            rooms[name] = rooms[name]._replace(rate=rate, starts=windows[name].left)
        return {name: room for name, room in rooms.items() if room.free and room.starts}


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

    def start_windows(self, queues: Iterable[str], *, now_ms: int) -> dict[str, StartWindow]:
        """See `QueueStore.start_windows`."""
        with self._database.reading():
            return Rates(self._database).windows(queues, now_ms)

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
        """Waits for claims that do not see the change; none begins after it has returned.

        Services are told before, because one that is stuck may keep it waiting, and again after,
        because a claim that took nothing for the sake of the change is made anew then.
        """
        self._database.notify("notify_all")
        with self._database.reading():
            instances = self._database.rows("instances")
        try:
            for instance in instances:  # each alone, so that no turn waits for that of another
                with self._database.transaction("operator"):
                    self._database.run("await_claims", id=instance[0])
        except BusyError as error:
            msg = (
                f"the change was made, but the service {instance[0]} may still start a job as if it"
            )
            msg += (
                " was not, because its claim has lasted too long; repeat the command to wait again"
            )
            raise BusyError(msg) from error
        finally:
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

    def key_window(self, key: str) -> tuple[Rate, int] | None:
        """See `QueueStore.key_window`."""
        with self._database.reading():
            row = self._database.row("key_window", key=key)
        return None if row is None else (Rate(*row[:2]), row[2])

    def remove(self, name: str) -> bool:
        """See `QueueStore.remove`."""
        with self._database.transaction("operator"):
            found = self._database.row("remove_queue", queue=name) is not None
            self._database.run("remove_starts", queue=name)
        self._database.notify("notify_all")
        return found
