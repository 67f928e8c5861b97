"""Numbers about all runs, over the statements of any engine."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from queued.core.run_stats import EndedRun
from queued.core.run_totals import RunTotal
from queued.store.statements import Statements, Transaction

PAGE = 2000  # runs that one transaction reads


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

    def ended_runs(self, *, since_ms: int) -> Iterator[EndedRun]:
        """Yields the runs that ended at a time or later, in that order; no purged ones.

        Between pages no transaction is open.
        """
        after = (since_ms, 0, 0)
        while True:
            values = dict(zip(("after_ended", "after_job", "after_number"), after, strict=True))
            with self._reading():
                page = self._database.rows("ended_runs", **values, limit=PAGE)
            yield from map(EndedRun._make, page)
            if len(page) < PAGE:
                return
            after = page[-1][:3]
