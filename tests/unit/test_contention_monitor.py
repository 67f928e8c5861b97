"""When other programs that keep the database busy are logged, and how often."""

from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from queued.core.records import SnapshotHolder
from queued.service.dispatcher.contention_monitor import ContentionMonitor
from queued.store.sqlite.engine import SqliteEngine

LONG, SHORT = 100 << 20, 1 << 20


class LoggedMonitor:
    """A monitor and the lines that it logs."""

    def __init__(self) -> None:
        self._log = Mock()
        self.monitor = ContentionMonitor(SqliteEngine("/q.db"), self._log)
        self.now_s = 0.0
        self.looks = 0

    @property
    def lines(self) -> list[dict[str, Any]]:
        calls = self._log.warning.call_args_list
        return [{"event": call.args[0], **call.kwargs} for call in calls]

    def turns(self, size: int, seconds: float, *, grows: bool = False) -> None:
        """Makes a turn each tenth of a second, with a WAL of `size` that may grow by a byte."""
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            ledger = Mock(snapshot_holders=list, backlog_bytes=partial(self._look, size))
            self.monitor.on_committed(ledger, self.now_s)
            size += grows

    def _look(self, size: int) -> int:
        self.looks += 1
        return size

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@pytest.fixture
def logged() -> LoggedMonitor:
    return LoggedMonitor()


def test_a_growing_wal_is_logged_once_each_time(logged: LoggedMonitor) -> None:
    logged.turns(SHORT, 10, grows=True)
    assert logged.lines == []
    logged.turns(LONG, 30, grows=True)
    assert logged.events() == ["database.wal_growing"]
    assert LONG < logged.lines[0]["wal_bytes"] < LONG + 100
    logged.turns(SHORT, 2)
    logged.turns(LONG, 10, grows=True)
    assert logged.events() == ["database.wal_growing"] * 2


def test_a_wal_left_by_a_large_batch_is_not_logged(logged: LoggedMonitor) -> None:
    """SQLite does not truncate it before the next commit."""
    logged.turns(LONG, 60)
    assert logged.lines == []
    logged.turns(LONG - 1000, 2, grows=True)
    assert logged.lines == [], "the WAL was used again: the time begins anew"
    logged.turns(LONG + 100, 10, grows=True)
    assert logged.events() == ["database.wal_growing"]


def test_a_wal_that_is_large_for_a_moment_is_not_logged(logged: LoggedMonitor) -> None:
    for _ in range(5):
        logged.turns(LONG, 3, grows=True)
        logged.turns(SHORT, 2)
    assert logged.lines == []


def test_the_size_is_checked_once_a_second(logged: LoggedMonitor) -> None:
    logged.turns(SHORT, 10)
    assert logged.looks == pytest.approx(10, abs=1)


def test_a_wait_for_the_lock_is_logged_once_each_time(logged: LoggedMonitor) -> None:
    for waited_s in (0.1, 4.9, 5.0, 6.0, 20.0):
        logged.monitor.on_wait(waited_s)
    assert logged.events() == ["database.locked"]
    logged.turns(SHORT, 0.1)
    logged.monitor.on_wait(1.0)
    logged.monitor.on_wait(7.0)
    assert [line["waited_s"] for line in logged.lines] == [5.0, 7.0]


def test_an_old_snapshot_is_logged_once(logged: LoggedMonitor) -> None:
    old = SnapshotHolder(7, 100, "anna", "10.0.0.7", "psql", "idle in transaction", None)
    ledger = Mock(backlog_bytes=lambda: 0)
    for second in range(200):
        young = old._replace(pid=8, snapshot=second)
        ledger.snapshot_holders.return_value = [old, young]
        logged.monitor.on_committed(ledger, second)
    (line,) = logged.lines
    assert line["event"] == "database.old_snapshot"
    assert (line["client_pid"], line["client_user"], line["client_address"]) == (
        7,
        "anna",
        "10.0.0.7",
    )
    for second in range(200, 400):
        ledger.snapshot_holders.return_value = [old] if second > 220 else []
        logged.monitor.on_committed(ledger, second)
    assert len(logged.lines) == 2
