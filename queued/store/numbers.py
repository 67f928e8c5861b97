"""The interface of a database engine for numbers about all runs."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from queued.core.run_stats import EndedRun
from queued.core.run_totals import RunTotal

PAGE = 2000  # runs that one transaction reads


class Sizes(NamedTuple):
    """The bytes of a database, and of its write-ahead log."""

    database: int
    log: int


class Numbers(Protocol):
    """Numbers that a `Store` reads."""

    def run_totals(self) -> list[RunTotal]:
        """Returns the totals of all runs that have ended, also of those that were purged."""
        ...

    def ended_runs(self, *, since_ms: int) -> Iterator[EndedRun]:
        """Yields the runs that ended at a time or later, in that order; no purged ones.

        Between pages no transaction is open.
        """
        ...

    def sizes(self) -> Sizes:
        """Returns the sizes; the log of a server is not that of one queue: 0."""
        ...
