"""What a connection tells of its server: its clock, its history of failovers, and its process."""

from typing import NamedTuple

import psycopg

from queued.core.times import boot_ms
from queued.store.postgres.bounded_connection import BoundedConnection

_ROUNDING_MS = 2


class Server(NamedTuple):
    """The clock and the history of a server, as they were read last.

    `ahead_ms`: the wall clock less the clock since boot of this host. `history`: the server's name
    and timeline; empty for a standby. `process`: the one that serves the connection; a pooler tells
    its clients another number.
    """

    ahead_ms: int = 0
    history: str = ""
    process: int = 0

    def read(self, connection: BoundedConnection, statement: str) -> "Server":
        """Returns what the server of a connection tells now; see `measured`."""
        before_ms = boot_ms()
        row = connection.execute(statement, prepare=False, binary=True).fetchall()[0]
        return self.measured(before_ms, *row)

    def measured(
        self, before_ms: int, server_ms: int, history: str, process: int | None = None
    ) -> "Server":
        """Returns what a server has just told that was asked at `before_ms` of `times.boot_ms`.

        The error of the clock is at most half the time of the answer, and the rounding of the three
        times. If the new value differs from the last one by no more, the last one stays, so that a
        slow network does not shift the clock.
        Raises OperationalError if this is an old primary, which a failover has replaced.
        """
        after_ms = boot_ms()
        ahead_ms = server_ms - (before_ms + after_ms) // 2
        if abs(ahead_ms - self.ahead_ms) <= (after_ms - before_ms) / 2 + _ROUNDING_MS:
            ahead_ms = self.ahead_ms
        if history.partition("/")[0] == self.history.partition("/")[0] and history < self.history:
            msg = "the server is a primary that was replaced: stop it, or restart the service"
            raise psycopg.OperationalError(msg)
        return Server(ahead_ms, history, self.process if process is None else process)
