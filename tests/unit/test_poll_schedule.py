"""When the dispatcher reads the commits of other processes."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from queued.core import times
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.dispatcher.poll_schedule import PollSchedule
from queued.store import instance_lock
from queued.store.change_watcher import ChangeWatcher


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[ChangeWatcher]:
    with closing(ChangeWatcher(str(tmp_path / "queue.db"))) as made:
        yield made


def _read(schedule: PollSchedule, interval_s: float, now_s: float) -> None:
    schedule.requested = False
    schedule.on_read(interval_s, now_s)


def test_the_first_turn_reads() -> None:
    assert PollSchedule(None, Deadlines()).is_due(0.0)


def test_without_a_watcher_changes_are_read_at_intervals() -> None:
    deadlines = Deadlines()
    schedule = PollSchedule(None, deadlines)
    _read(schedule, 5.0, 100.0)
    assert deadlines.next_s == 105.0
    assert not schedule.is_due(104.9)
    assert schedule.is_due(105.0)
    _read(schedule, 2.0, 106.0)
    assert deadlines.next_s == 108.0


def test_with_a_watcher_nothing_is_due_by_time(watcher: ChangeWatcher) -> None:
    deadlines = Deadlines()
    _read(PollSchedule(watcher, deadlines), 5.0, 100.0)
    assert deadlines.next_s == times.NEVER_S


def test_a_write_requests_a_read(watcher: ChangeWatcher, tmp_path: Path) -> None:
    schedule = PollSchedule(watcher, Deadlines())
    _read(schedule, 5.0, 0.0)
    schedule.on_event()
    assert not schedule.is_due(0.0)
    (tmp_path / "queue.db-wal").write_text("x")
    schedule.on_event()
    assert schedule.is_due(0.0)


def test_after_the_end_of_an_instance_its_lock_is_tried_for_a_second(
    watcher: ChangeWatcher, tmp_path: Path
) -> None:
    deadlines = Deadlines()
    schedule = PollSchedule(watcher, deadlines)
    descriptor = instance_lock.create_locked(instance_lock.path_of(str(tmp_path / "queue.db"), "i"))
    schedule.on_event()
    assert deadlines.next_s == times.NEVER_S
    os.close(descriptor)
    schedule.on_event()
    start_s = deadlines.next_s
    after_s = []
    while deadlines.next_s < times.NEVER_S:
        after_s.append(deadlines.next_s - start_s)
        assert schedule.is_due(deadlines.next_s)
        _read(schedule, 5.0, deadlines.next_s)
    assert after_s == pytest.approx([0.0, 0.001, 0.01, 0.1, 1.0])


def test_a_rescue_that_is_due_again_reads() -> None:
    deadlines = Deadlines()
    schedule = PollSchedule(None, deadlines)
    _read(schedule, 60.0, 0.0)
    deadlines.set("rescue", 5.0)
    assert [schedule.is_due(now_s) for now_s in (4.9, 5.0)] == [False, True]


def test_the_earliest_deadline_counts_until_it_is_replaced() -> None:
    deadlines = Deadlines()
    assert deadlines.next_s == times.NEVER_S
    deadlines.set("load", 3.0)
    deadlines.set("prune", 2.0)
    assert deadlines.next_s == 2.0
    assert deadlines.due("prune", 2.0)
    assert not deadlines.due("load", 2.0)
    deadlines.set("prune", times.NEVER_S)
    assert deadlines.next_s == 3.0
