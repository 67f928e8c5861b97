"""The record of reloads that a service writes and `queued --reload` reads."""

import json
import os
from pathlib import Path

import pytest

from queued.core.errors import NotFoundError, UsageError
from queued.service.supervisor.reload import Record, ReloadFile, reload


def test_the_record_counts(tmp_path: Path) -> None:
    file = ReloadFile({"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"})
    assert file.read() == Record()
    file.reset()
    file.begin()
    assert (file.read(), file.pending) == (Record(1, 0, {}), True)
    file.end(1, "workers is wrong")
    assert (file.read(), file.pending) == (Record(1, 1, {"1": "workers is wrong"}), False)
    file.begin()
    file.end(2, None)
    assert file.read() == Record(2, 2, {"1": "workers is wrong"})
    assert [path.name for path in tmp_path.iterdir()] == ["reload"]
    assert json.loads((tmp_path / "reload").read_text()) == [2, 2, {"1": "workers is wrong"}]


def test_a_fifo_that_a_job_made_in_place_of_the_file_is_replaced(tmp_path: Path) -> None:
    """Its open would wait for a reader, and the supervisor with it."""
    os.mkfifo(tmp_path / "reload.new")
    file = ReloadFile({"RUNTIME_DIRECTORY": str(tmp_path)})
    file.begin()
    assert file.read() == Record(1, 0, {})


def test_a_second_reload_does_not_end_the_first(tmp_path: Path) -> None:
    file = ReloadFile({"RUNTIME_DIRECTORY": str(tmp_path)})
    file.begin()
    file.begin()
    file.end(1, None)
    assert file.pending
    file.end(2, "bad")
    assert file.read() == Record(2, 2, {"2": "bad"})


def test_an_answer_ends_all_earlier_reloads(tmp_path: Path) -> None:
    """The next dispatcher answers for those that the one before it left without an answer."""
    file = ReloadFile({"RUNTIME_DIRECTORY": str(tmp_path)})
    for _ in range(3):
        file.begin()
    file.end(3, "bad")
    assert file.read() == Record(3, 3, {"1": "bad", "2": "bad", "3": "bad"})


def test_the_record_stays_small() -> None:
    file = ReloadFile({})
    for number in range(1, 1001):
        file.begin()
        file.end(number, "bad")
    assert len(file._record.refused) == 100
    assert "1000" in file._record.refused


def test_without_a_runtime_directory_nothing_is_written_and_nothing_can_wait() -> None:
    file = ReloadFile({})
    file.begin()
    file.end(1, None)
    with pytest.raises(UsageError, match="send HUP"):
        reload(os.getpid(), file)


def test_a_process_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        NotFoundError, match="cannot signal the process 2147483647: No such process"
    ):
        reload(2**31 - 1, ReloadFile({"RUNTIME_DIRECTORY": str(tmp_path)}))
