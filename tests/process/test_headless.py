"""A process whose first thread has ended shows `Z` and lives: it is ended like any other."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import headless
from tests.service import Queue, alive, eventually


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """Where such a process writes its pid. It is gone at the end."""
    made = tmp_path / "headless"
    yield made
    pid = headless.pid_of(made)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def started(pid_file: Path) -> int:
    pid = eventually(lambda: headless.pid_of(pid_file), "a process without its first thread")
    assert pid is not None
    assert alive(pid)
    return pid


def test_a_headless_process_is_stopped_at_its_time_limit(queue: Queue, pid_file: Path) -> None:
    queue.serve(workers=1)
    name = queue.add(headless.command(pid_file), timeout=1, max_retries=1)
    pid = started(pid_file)
    assert queue.wait(name).last_error == "timeout"
    assert not alive(pid)


def test_a_headless_process_does_not_outlive_its_command(queue: Queue, pid_file: Path) -> None:
    queue.serve(workers=1)
    wait = f"until [ -e {pid_file} ]; do sleep 0.01; done; sleep 0.1"
    name = queue.add(f"({headless.command(pid_file)}) & {wait}; exit 0")
    assert queue.wait(name).label == "completed"
    pid = int(pid_file.read_text())
    assert not alive(pid)


@pytest.mark.parametrize("of_all", [False, True], ids=["worker", "service"])
def test_a_headless_process_is_killed_before_its_job_runs_again(
    queue: Queue, pid_file: Path, *, of_all: bool
) -> None:
    service = queue.serve(workers=1)
    name = queue.add_once(headless.command(pid_file))
    pid = started(pid_file)
    if of_all:
        service.kill_instance()
        queue.serve(workers=1)
    else:
        service.kill(service.child(1))
    assert queue.wait(name).label == "completed"
    assert not alive(pid)
    assert [run.outcome for run in queue.attempts(name)] == ["lost", "exit"]


def test_a_headless_process_in_another_session_is_found_by_its_mark(
    queue: Queue, pid_file: Path
) -> None:
    service = queue.serve(workers=1)
    command = headless.command(pid_file).removeprefix("exec")
    name = queue.add_once(f"{{ setsid {command} & sleep 1000; }}")
    pid = started(pid_file)
    service.kill_instance()
    queue.serve(workers=1)
    assert queue.wait(name).label == "completed"
    assert not alive(pid)
