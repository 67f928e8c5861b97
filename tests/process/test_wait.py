"""`wait`, `logs --follow` and `enqueue --wait`: at once when it happens, and free until then."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from queued.core import times
from tests.open_descriptors import watches
from tests.process.marked_sleep import MarkedSleep
from tests.process_figures import sleeps
from tests.service import Queue, eventually, let_pass


@contextmanager
def waiting(queue: Queue, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A queuectl that watches the database."""
    process = subprocess.Popen(
        [sys.executable, "-m", "queued.ctl", "--db", queue.path, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            eventually(lambda: watches(process.pid) or process.poll() is not None)
            yield process
        finally:
            process.kill()


def test_wait_goes_on_through_retries(served: Queue) -> None:
    name = served.add("[ $QUEUED_ATTEMPT = 3 ] || exit 5", max_retries=3, backoff_max=0.1)
    assert served.queuectl("wait", name).returncode == 0
    assert served.job(name).runs == 3


COMMANDS = (("wait",), ("logs", "--follow"))


@pytest.mark.sqlite_only  # over PostgreSQL they look four times a second
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_answer_within_50_ms_of_the_commit(
    served: Queue, command: tuple[str, ...]
) -> None:
    """The end of a job, to the end of the program that waited for it."""
    late_ms = []
    for _ in range(7):
        go = served.file("go")
        name = served.add(f"until [ -e {go} ]; do sleep 0.01; done; rm {go}; exit 3", max_retries=1)
        with waiting(served, *command, name) as process:
            go.touch()
            assert process.wait() == 3
            late_ms.append(times.now_ms() - served.job(name).updated_ms)
    assert statistics.median(late_ms) < 50, late_ms


def moves(pids: list[int], seconds: float) -> list[int]:
    """How often each goes to sleep within so many seconds."""
    before = [sleeps(pid) for pid in pids]
    let_pass(seconds)
    return [sleeps(pid) - count for pid, count in zip(pids, before, strict=True)]


@pytest.mark.sqlite_only
def test_an_idle_service_uses_no_cpu_time(queue: Queue, sleeper: MarkedSleep) -> None:
    """A job that runs and prints nothing, one that waits, and three programs that wait for them."""
    service = queue.serve(workers=2)
    later = queue.add("true", delay=1000)
    name = queue.add(f"echo; sleep {sleeper}")
    with (
        waiting(queue, "wait", name, later) as waits,
        waiting(queue, "logs", "--follow", name) as follows,
        waiting(queue, "enqueue", "--wait", "--delay", "1000", "--", "true") as enqueued,
    ):
        eventually(lambda: queue.output(name) == b"\n")
        pids = [service.pid, *map(service.child, (0, 1, 2))]
        pids += [process.pid for process in (waits, follows, enqueued)]
        eventually(lambda: max(moves(pids, 1.2)) <= 2, "a second of rest")
