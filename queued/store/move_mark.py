"""The mark in a queue that no program may use: it was moved, or is an unfinished copy.

The number of its schema is `CLOSED`, which versions without `db move` take for a newer schema.
"""

from typing import NamedTuple

from queued.core.errors import DatabaseUnusableError

CLOSED = 2**31 - 1


class MoveMark(NamedTuple):
    """`gone`: the queue was moved to `place`; else it is a copy of that place, not in use yet.

    `host` is where `db move` ran: if `place` is a path, it is on that host.
    """

    gone: bool
    place: str
    host: str

    def same(self, other: "MoveMark | None") -> bool:
        """Returns whether both marks are of the same move; a path is the same only on one host."""
        return other is not None and self[:2] == other[:2] and self.on_host == other.on_host

    def refusal(self, here: str) -> DatabaseUnusableError:
        """Returns the error of a program that opens the queue, whose place is `here`."""
        if self.gone:
            msg = f"{here} was moved to {self.place}{self.on_host}; give that with --db"
        else:
            msg = (
                f"{here} is the copy of an unfinished move{self.on_host}; "
                f"go on with: queuectl --db '{self.place}' db move --to '{here}'"
            )
        return DatabaseUnusableError(msg)

    @property
    def on_host(self) -> str:
        """The host of a path, in words; empty for a URL."""
        return f" (on {self.host})" if self.place.startswith("/") else ""
