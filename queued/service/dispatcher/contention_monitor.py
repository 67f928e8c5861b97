"""Logs a warning when another program keeps the database busy, once for each occasion.

A program that holds the write lock keeps results from being recorded. A program that keeps a read
transaction open makes the write-ahead log (WAL) grow with each commit.
"""

from collections.abc import Callable

from queued.core import times
from queued.service.log import Log
from queued.store.engine import Engine

_LOCKED_S = 5.0  # a shorter wait for the lock is normal
_MOST_BYTES = 64 << 20
_OPEN_S = 5.0  # a large batch also leaves a large WAL, but one that the next commits reuse
_INTERVAL_S = 1.0  # between two checks of the size of the WAL


class ContentionMonitor:
    """Monitors the waits for the lock, and the size of the WAL after turns."""

    def __init__(self, engine: Engine, log: Log) -> None:
        self._database = engine.name
        self._advice = engine.wait_advice
        self._log = log
        self._lock_warned = self._open_warned = False
        self._check_s = 0.0  # when the WAL is checked next
        self._open_s = times.NEVER_S  # a warning is due if the WAL still grows then
        self._open_bytes = 0  # the size of the WAL when `_open_s` was set

    def on_wait(self, waited_s: float) -> None:
        """A turn has been waiting for the lock for `waited_s`."""
        if waited_s >= _LOCKED_S and not self._lock_warned:
            self._lock_warned = True
            self._log.warning(
                "database.locked",
                database=self._database,
                waited_s=round(waited_s, 1),
                action=self._advice,
            )

    def on_committed(self, backlog_bytes: Callable[[], int], now_s: float) -> None:
        """A turn was committed, so no other program holds the lock, and the WAL may have grown."""
        self._lock_warned = False
        if now_s < self._check_s:
            return
        self._check_s = now_s + _INTERVAL_S
        size = backlog_bytes()
        if size <= _MOST_BYTES:
            self._open_s, self._open_warned = times.NEVER_S, False
        elif self._open_s == times.NEVER_S or size < self._open_bytes:
            self._open_s, self._open_bytes = now_s + _OPEN_S, size
        elif size > self._open_bytes and now_s >= self._open_s and not self._open_warned:
            self._open_warned = True
            self._log.warning(
                "database.wal_growing",
                database=self._database,
                wal_bytes=size,
                action="end the program that keeps a transaction open; `lsof FILE` lists it",
            )
