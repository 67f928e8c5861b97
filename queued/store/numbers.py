"""Numbers about all runs, over the statements of any engine."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from queued.core.run_stats import EndedRun, StatsPart
from queued.core.run_totals import RunTotal
from queued.store.statements import Statements, Transaction

PAGE = 2000  # runs that one transaction reads
_NEVER_MS = 2**62


class Sizes(NamedTuple):
    """The bytes of a database, and of its write-ahead log."""

    database: int
    log: int


class Numbers:
    """The numbers that queuectl reads from a queue. `reading` is a transaction."""

    def __init__(
        self, database: Statements, reading: Transaction, sizes: Callable[[], Sizes]
    ) -> None:
        """`sizes` returns the sizes; the log of a server is not that of one queue: 0."""
        self._database = database
        self._reading = reading
        self.sizes = sizes

    def run_totals(self) -> list[RunTotal]:
        """Returns the totals of all runs that have ended, also of those that were purged."""
        with self._reading():
            return [RunTotal(*row) for row in self._database.rows("run_totals")]

    def period_runs(self, *, since_ms: int, by: str = "") -> list[StatsPart]:
        """Returns the runs since the begin of a minute or hour, also those that were purged.

        `by` is `queue`, `result` or `hour`, which names the groups; an hour is in milliseconds UTC.
        """
        with self._reading():
            rows = self._database.rows("period_runs", since=since_ms, by=by)
        return [StatsPart(*row) for row in rows]

    def newest_runs(self, *, since_ms: int, limit: int | None = None) -> Iterator[EndedRun]:
        """Yields the runs that ended at a time or later, the newest first; no purged ones.

        Between pages no transaction is open.
        """
        left = math.inf if limit is None else limit
        before = (_NEVER_MS, 0, 0)
        while left > 0:
            values = dict(zip(("before_ended", "before_job", "before_number"), before, strict=True))
            count = int(min(PAGE, left))
            with self._reading():
                page = self._database.rows("newest_runs", since=since_ms, **values, limit=count)
            yield from map(EndedRun._make, page)
            if len(page) < count:
                return
            left -= count
            before = page[-1][:3]
