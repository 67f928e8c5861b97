"""Whom a reload tells to leave next, and what it writes down."""

import json
import os
from pathlib import Path

import pytest

from queued.core.errors import NotFoundError, UsageError
from queued.service.supervisor.children import Child
from queued.service.supervisor.reload import Record, ReloadFile, Renewal, reload

OLD = [Child(slot, 100 + slot, 0.0) for slot in range(4)]
NEW = [Child(slot, 200 + slot, 1.0) for slot in range(4)]


def test_old_is_who_lived_when_it_began() -> None:
    assert Renewal(OLD).old([OLD[0], NEW[1], OLD[2]]) == [OLD[0], OLD[2]]


def test_idle_workers_go_one_by_one() -> None:
    renewal = Renewal(OLD)
    assert renewal.next(OLD[1:], leaving=set(), busy=[]) == [OLD[1]]
    assert renewal.next(OLD[1:], leaving={101}, busy=[]) == []
    assert renewal.next([NEW[1], *OLD[2:]], leaving=set(), busy=[]) == [OLD[2]]


def test_nobody_waits_for_one_that_is_busy() -> None:
    assert Renewal(OLD).next(OLD[1:], leaving={101}, busy=[1]) == [OLD[2]]


def test_all_have_been_told() -> None:
    assert Renewal(OLD).next(OLD[1:], leaving={101, 102, 103}, busy=[1, 2, 3]) == []
    assert Renewal(OLD).next(NEW[1:], leaving=set(), busy=[]) == []


def test_the_record_counts(tmp_path: Path) -> None:
    file = ReloadFile({"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"})
    assert file.read() == Record()
    file.reset()
    file.begin()
    assert file.read() == Record(1, 0)
    file.end("workers is wrong")
    assert file.read() == Record(1, 1, "workers is wrong")
    file.begin()
    file.end()
    assert file.read() == Record(2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["reload"]
    assert json.loads((tmp_path / "reload").read_text()) == [2, 2, ""]


def test_without_a_runtime_directory_nothing_is_written_and_nobody_can_wait() -> None:
    file = ReloadFile({})
    file.begin()
    file.end()
    with pytest.raises(UsageError, match="send HUP"):
        reload(os.getpid(), file)


def test_a_process_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        NotFoundError, match="cannot signal the process 2147483647: No such process"
    ):
        reload(2**31 - 1, ReloadFile({"RUNTIME_DIRECTORY": str(tmp_path)}))
