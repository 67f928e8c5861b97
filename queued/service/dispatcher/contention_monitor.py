"""Notices other programs that hold the database up, and says once of each time that they do.

One has the lock for long: nothing can be recorded meanwhile. One keeps a transaction open: jobs
go on, but the write-ahead log cannot be used again, and grows with each commit until it ends.
"""

from collections.abc import Callable

from queued.core import times
from queued.service.log import Log

_LOCKED_S = 5.0  # how long a wait for the database is nobody's business
_MOST_BYTES = 64 << 20
_OPEN_S = 5.0  # a large batch may make the log that long, and the next commit uses it again
_APART_S = 1.0  # looks at its size


class ContentionMonitor:
    """Hears of waits for the lock, and of turns."""

    def __init__(self, database: str, log: Log) -> None:
        self._database = database
        self._log = log
        self._lock_told = self._open_told = False
        self._look_s = 0.0
        self._open_s = times.NEVER_S  # if the log has still grown then, it is not for a moment
        self._open_bytes = 0  # its size when that was said

    def waited(self, waited_s: float) -> None:
        """A turn waits for the lock, for so long by now."""
        if waited_s >= _LOCKED_S and not self._lock_told:
            self._lock_told = True
            self._log.warning(
                "database.locked",
                database=self._database,
                waited_s=round(waited_s, 1),
                action="end the program that holds it: lsof on the file names it",
            )

    def made(self, backlog_bytes: Callable[[], int], now_s: float) -> None:
        """A turn was made: nobody has the lock, and the log may have grown."""
        self._lock_told = False
        if now_s < self._look_s:
            return
        self._look_s = now_s + _APART_S
        size = backlog_bytes()
        if size <= _MOST_BYTES:
            self._open_s, self._open_told = times.NEVER_S, False
        elif self._open_s == times.NEVER_S or size < self._open_bytes:
            self._open_s, self._open_bytes = now_s + _OPEN_S, size
        elif size > self._open_bytes and now_s >= self._open_s and not self._open_told:
            self._open_told = True
            self._log.warning(
                "database.held_up",
                database=self._database,
                wal_bytes=size,
                action="end the program that keeps a transaction open: lsof on the file names it",
            )
