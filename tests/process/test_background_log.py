"""The log file of `--background` is found again after logrotate, and rotates by itself."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queued.service.linux import procfs
from tests.open_descriptors import targets
from tests.service import Queue, eventually

MAX_BYTES = 40_000


@pytest.fixture
def log(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The log file of a service that runs in the background."""
    monkeypatch.setenv("QUEUECTL_LOG_MAX_SIZE", str(MAX_BYTES))
    monkeypatch.setenv("QUEUECTL_LOG_LEVEL", "debug")
    done = queue.queuectl("worker", "start", "--count", "2", "--background")
    assert done.returncode == 0, done.stderr
    path = queue.log_path
    yield path
    queue.queuectl("worker", "stop")
    eventually(lambda: any(line["event"] == "service.stopped" for line in _lines(path)))


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _events(path: Path) -> set[str]:
    return {line["event"] for line in _lines(path)}


def _service(queue: Queue) -> list[int]:
    """Returns the pids of the supervisor and its children."""
    (instance,) = queue.store.instances()
    return [instance.pid, *(p.pid for p in procfs.descendants(instance.pid) if not p.dead)]


def test_a_moved_file_is_left_at_hup_by_all_processes(queue: Queue, log: Path) -> None:
    moved = log.with_name("moved")
    os.rename(log, moved)
    pids = _service(queue)
    assert len(pids) == 4 + queue.engine.spans_hosts  # the warden
    os.kill(pids[0], signal.SIGHUP)
    eventually(lambda: "reload.finished" in _events(log))
    eventually(lambda: not any(str(moved) in targets(pid) for pid in pids))
    assert all(targets(pid).count(str(log)) == 2 for pid in pids), "descriptors 1 and 2"
    assert log.stat().st_mode == moved.stat().st_mode


def test_a_full_file_is_renamed_and_no_line_of_any_process_is_lost(queue: Queue, log: Path) -> None:
    old = log.with_name(f"{log.name}.1")
    names = set(queue.add_all(["true"] * 60))
    queue.wait_all(len(names))
    eventually(lambda: "job.completed" in _events(log))
    assert MAX_BYTES <= old.stat().st_size < MAX_BYTES * 1.1
    assert log.stat().st_size < MAX_BYTES, "renamed once, so that both files have all lines"
    lines = _lines(old) + _lines(log)
    for event in ("job.started", "job.completed"):
        assert {line["job"] for line in lines if line["event"] == event} == names
    queue.add_all(["true"] * 60)
    queue.wait_all(2 * len(names))
    assert sorted(path.name for path in log.parent.iterdir()) == [log.name, old.name]


def test_a_fifo_or_link_in_place_of_the_file_is_not_written(queue: Queue, log: Path) -> None:
    """A FIFO would block the service; through a link it would write to another program's file."""
    victim = queue.file("victim")
    victim.touch()
    for put in (os.mkfifo, lambda path: os.symlink(victim, path)):
        os.rename(log, log.with_name("moved"))
        put(log)
        queue.wait(queue.add("true"), "completed")
        log.unlink()
        queue.wait(queue.add("true"), "completed")
        eventually(log.exists)
    assert victim.read_bytes() == b""
