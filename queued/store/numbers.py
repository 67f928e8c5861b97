"""The interface of a database engine for numbers about all runs."""

from typing import NamedTuple, Protocol

from queued.core.run_totals import RunTotal


class Sizes(NamedTuple):
    """The bytes of a database, and of its write-ahead log."""

    database: int
    log: int


class Numbers(Protocol):
    """Numbers that a `Store` reads."""

    def run_totals(self) -> list[RunTotal]:
        """Returns the totals of all runs that have ended, also of those that were purged."""
        ...

    def sizes(self) -> Sizes:
        """Returns the sizes; the log of a server is not that of one queue: 0."""
        ...
