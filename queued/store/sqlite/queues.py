"""Queues as such over SQLite; see `store.queues`."""

from typing import TYPE_CHECKING, Any

from queued.store.sqlite.connection import Database, Row
from queued.store.statements import texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queued.core.model import NewJob
    from queued.core.rates import Rate
    from queued.core.records import Queue, Share, StartWindow
    from queued.store.rates import Rates


class SqliteQueues:
    """A `QueueLedger` and a `QueueStore`; a reading verb needs no transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rated = set[str]()  # of the shares of the last call of `first_ready`
        self._retry_ms: int | None = None  # see `take_retry_ms`

    def all(self) -> "list[Queue]":
        """See `QueueStore.all`."""
        from queued.core.records import Queue

        with self._database.named_errors():
            return [Queue(*texts(row, "replace")) for row in self._database.rows("queues")]

    def used_places(self) -> dict[str, int]:
        """See `QueueStore.used_places`."""
        with self._database.named_errors():
            return dict(texts(row, "replace") for row in self._database.rows("used_places"))

    def start_windows(self, queues: "Iterable[str]", *, now_ms: int) -> "dict[str, StartWindow]":
        """See `QueueStore.start_windows`."""
        with self._database.named_errors():
            return self._rates.windows(queues, now_ms)

    def full_rates(self, queues: "Iterable[str]", now_ms: int) -> "dict[str, StartWindow]":
        """See `QueueLedger.full_rates`."""
        return self._rates.full(queues, now_ms)

    @property
    def _rates(self) -> "Rates":
        from queued.store.rates import Rates

        return Rates(self._database)

    def oldest_ready(self) -> dict[str, int]:
        """See `QueueStore.oldest_ready`."""
        with self._database.named_errors():
            return dict(texts(row, "replace") for row in self._database.rows("oldest_ready"))

    def ready_lanes(self) -> list[int]:
        """See `QueueLedger.ready_lanes`."""
        return [lane for (lane,) in self._database.rows("ready_lanes")]

    def take_retry_ms(self) -> int | None:
        """See `QueueLedger.take_retry_ms`. No other program uses a limit meanwhile."""
        retry_ms, self._retry_ms = self._retry_ms, None
        return retry_ms

    def rate_waits(self, lanes: "Iterable[int]") -> bool:
        """See `QueueLedger.rate_waits`."""
        return bool(self._database.value("rate_waits", lanes=str([*lanes])))

    def time_waits(self, lanes: "Iterable[int]", by_ms: int) -> bool:
        """See `QueueLedger.time_waits`."""
        return bool(self._database.value("time_waits", lanes=str([*lanes]), by=by_ms))

    def change(self, name: str, **changes: Any) -> "Queue":  # noqa: ANN401 - fields of Queue
        """See `QueueStore.change`."""
        with self._database.transaction():
            return self._change(name, changes)

    def change_each(self, changes: "Mapping[str, Mapping[str, Any]]") -> None:
        """See `QueueStore.change_each`."""
        with self._database.transaction():
            for name, one in changes.items():
                self._change(name, one)

    def _change(self, name: str, changes: "Mapping[str, Any]") -> "Queue":
        from queued.core.records import Queue

        row = self._database.row("queue", queue=name)
        queue = Queue(*texts(row or (name,), "replace"))._replace(**changes)
        values = queue._asdict()
        self._database.run("store_queue", queue=values.pop("name"), **values)
        return queue

    def key_users(self, key: str) -> list[str]:
        """See `QueueStore.key_users`."""
        with self._database.named_errors():
            return [row[0] for row in self._database.rows("key_places", key=key)]

    def key_window(self, key: str) -> "tuple[Rate, int] | None":
        """See `QueueStore.key_window`."""
        from queued.core.rates import Rate

        with self._database.named_errors():
            row = self._database.row("key_window", key=key)
        return None if row is None else (Rate(*row[:2]), row[2])

    def remove(self, name: str) -> bool:
        """See `QueueStore.remove`."""
        with self._database.transaction():
            self._database.run("remove_starts", queue=name)
            return self._database.row("remove_queue", queue=name) is not None

    def admit(self, jobs: "list[NewJob]") -> "list[NewJob]":
        """See `queue_defaults.admitted`."""
        names = {job.queue for job in jobs}
        found = [row for name in names if (row := self._database.row("queue", queue=name))]
        if not found:
            return jobs
        from queued.core.queue_defaults import admitted

        return admitted(jobs, {one.name: one for one in map(_checked, found)})

    def first_ready(self, shares: "Sequence[Share]", count: int, now_ms: int) -> list[int]:
        """Returns at most `count` ready jobs of the shares, in the order of claiming.

        It leaves out jobs of paused queues, and jobs for which their queue has no place, or that
        its rate does not allow now. Give those that were claimed to `add_starts`.
        """
        jobs: list[int] = []
        self._rated = set()
        used: dict[str, int] | None = None
        for share in shares:
            limit, rated = self._database.row("most_places", queue=share.queue) or (None, False)
            most = min(share.most, count - len(jobs))
            if rated:
                self._rated.add(share.queue)
                windows = self._rates.windows([share.queue], now_ms)
                most = min(most, sum(window.left for window in windows.values()))
            ready = sorted(
                row
                for lane in share.lanes
                for row in self._database.rows("first_ready", lane=lane, count=most)
            )
            found = [job for _, _, job in ready[:most]]
            if limit is not None:
                used = self.used_places() if used is None else used
                found = self._fitting(found, limit, limit - used.get(share.queue, 0))
            jobs += found
        return jobs

    def add_starts(self, queues: "Iterable[str]", rated: "Sequence[int]", now_ms: int) -> None:
        """Counts the starts of claimed jobs of these queues, of those that have a rate.

        `rated` are those of the jobs whose keys have a rate.
        """
        if self._rated:
            from collections import Counter

            self._rates.add(Counter(name for name in queues if name in self._rated), now_ms)
        if rated:
            self._database.run("add_key_starts", jobs=str(rated), now=now_ms)
            self._database.run("note_key_starts", jobs=str(rated))
            self._retry_ms = now_ms

    def _fitting(self, jobs: "Sequence[int]", limit: int, free: int) -> list[int]:
        """Returns the first of the jobs, as long as the queue has free places for them."""
        fitting = []
        for job in jobs:
            free -= min(self._database.value("slots", job=job), limit)
            if free < 0 or limit == 0:
                break
            fitting.append(job)
        return fitting


def _checked(row: Row) -> "Queue":
    """Returns the queue of a row. Raises ConfigError if a text of it is not UTF-8."""
    from queued.core.queue_defaults import unreadable
    from queued.core.records import Queue

    try:
        return Queue(*texts(row))
    except UnicodeDecodeError as error:
        raise unreadable(row[0].decode(), error) from None
