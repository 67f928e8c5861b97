"""Logs a warning when another program keeps the database busy, once for each occasion.

A program that holds the write lock keeps results from being recorded. A program that keeps a read
transaction open makes the write-ahead log (WAL) of SQLite grow with each commit, and keeps
PostgreSQL from removing dead rows.
"""

from contextlib import suppress

from queued.core import times
from queued.core.errors import QueuedError
from queued.core.records import SnapshotHolder
from queued.service.log import Log
from queued.store.engine import Engine
from queued.store.ledger import Ledger

_LOCKED_S = 5.0  # a shorter wait for the lock is normal
_MOST_BYTES = 64 << 20
_OPEN_S = 5.0  # a large batch also leaves a large WAL, but one that the next commits reuse
_SNAPSHOT_S = 60.0  # dead rows that wait for a shorter time do not slow the queue
_SNAPSHOT_INTERVAL_S = 10.0  # between two checks of the snapshots
_WAL_INTERVAL_S = 1.0  # between two checks of the size of the WAL


class ContentionMonitor:
    """Monitors the waits for the lock, and the size of the WAL after turns."""

    def __init__(self, engine: Engine, log: Log) -> None:
        self._database = engine.name
        self._advice = engine.wait_advice
        self._log = log
        self._lock_warned = self._open_warned = False
        self._held_since_s: dict[tuple[int, int], float] = {}  # by pid and number of a snapshot
        self._snapshot_check_s = 0.0  # when the snapshots are checked next
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

    def on_committed(self, ledger: Ledger, now_s: float) -> None:
        """A turn was committed, so no other program holds the lock, and the WAL may have grown."""
        self._lock_warned = False
        if now_s < self._check_s:
            return
        self._check_s = now_s + _WAL_INTERVAL_S
        self._check_wal(ledger.backlog_bytes(), now_s)
        if now_s >= self._snapshot_check_s:
            self._snapshot_check_s = now_s + _SNAPSHOT_INTERVAL_S
            with suppress(QueuedError):  # the next turn reports what is wrong with the server
                self._check_snapshots(ledger.snapshot_holders(), now_s)

    def _check_wal(self, size: int, now_s: float) -> None:
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

    def _check_snapshots(self, holders: list[SnapshotHolder], now_s: float) -> None:
        since_s: dict[tuple[int, int], float] = {}
        for holder in holders:
            key = holder.pid, holder.snapshot
            since_s[key] = self._held_since_s.get(key, now_s)
            if now_s - since_s[key] >= _SNAPSHOT_S:
                since_s[key] = times.NEVER_S  # so that it is logged once
                self._log.warning(
                    "database.old_snapshot",
                    database=self._database,
                    **{f"client_{name}": value for name, value in holder._asdict().items()},
                    action=f"end its transaction, or: SELECT pg_terminate_backend({holder.pid})",
                )
        self._held_since_s = since_s
