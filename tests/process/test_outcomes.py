"""The record of a run: how it ended, when, and what it used."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from queued.core.records import Attempt
from queued.service.linux import libc
from tests.process.marked_sleep import MarkedSleep
from tests.service import Queue, eventually

CASES: dict[str, tuple[str, dict[str, Any], tuple[str, int | None, str | None]]] = {
    "success": ("exit 0", {}, ("exit", 0, None)),
    "failure": ("exit 42", {}, ("exit", 42, None)),
    "a large code": ("exit 255", {}, ("exit", 255, None)),
    "not found": ("no-such-command", {}, ("exit", 127, None)),
    "not executable": ("/etc/passwd", {}, ("exit", 126, None)),
    "a syntax error": ("if then", {}, ("exit", 2, None)),
    "like an option": ("-x", {}, ("exit", 127, None)),
    "SIGKILL": ("kill -9 $$", {}, ("signal", None, "SIGKILL")),
    "SIGSEGV": ("kill -SEGV $$", {}, ("signal", None, "SIGSEGV")),
    "SIGPIPE": ("kill -PIPE $$", {}, ("signal", None, "SIGPIPE")),
    "a real-time signal": ("kill -37 $$", {}, ("signal", None, "SIGRTMIN+3")),
    "spawn-error": ("true", {"cwd": "/no/such/place"}, ("spawn-error", None, None)),
    "spawn-error, no directory": ("true", {"cwd": "/etc/passwd"}, ("spawn-error", None, None)),
}  # fmt: skip


def only(queue: Queue, name: str) -> Attempt:
    (attempt,) = queue.attempts(name)
    return attempt


@pytest.mark.both_engines
@pytest.mark.parametrize(("command", "options", "ending"), CASES.values(), ids=CASES.keys())
def test_the_outcome_is_recorded(
    served: Queue,
    command: str,
    options: dict[str, Any],
    ending: tuple[str, int | None, str | None],
) -> None:
    name = served.add(command, max_retries=1, **options)
    job = served.wait(name)
    attempt = only(served, name)
    assert (attempt.outcome, attempt.exit_code, attempt.signal) == ending
    assert job.label == ("completed" if ending == ("exit", 0, None) else "dead")
    assert attempt.ended_ms is not None
    assert attempt.ran_ms == attempt.ended_ms - attempt.started_ms


def test_a_missing_directory_is_a_clear_error(served: Queue) -> None:
    gone = served.file("gone")
    name = served.add("true", cwd=str(gone), max_retries=1)
    error = served.wait(name).last_error
    expected = f"spawn-error: the directory {gone} cannot be entered: No such file or directory"
    assert error == expected
    assert only(served, name).error == expected


def test_a_missing_directory_is_tried_again(served: Queue) -> None:
    later = served.file("later")
    name = served.add("pwd", cwd=str(later), max_retries=3, backoff_base=1, backoff_max=0.2)
    eventually(lambda: served.job(name).attempts == 1)
    later.mkdir()
    assert served.wait(name).label == "completed"
    assert served.output(name, attempt=served.job(name).runs) == f"{later}\n".encode()


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Path]:
    """A file system that never answers: each process that accesses it waits until it is killed."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and FUSE")
    place = tmp_path / "hung"
    place.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc.checked(libc.C.mount(b"hung", os.fsencode(place), b"fuse", 0, options))
    yield place
    libc.checked(libc.C.umount2(os.fsencode(place), 2))  # MNT_DETACH
    os.close(device)


@pytest.mark.parametrize("options", [{}, {"nice": 1}], ids=["spawned", "forked"])
def test_a_directory_that_hangs_is_a_timeout(
    queue: Queue, hung: Path, options: dict[str, int]
) -> None:
    queue.serve(workers=1)
    name = queue.add("true", cwd=str(hung), timeout=0.5, max_retries=1, kill_grace=0.2, **options)
    assert queue.wait(name).last_error == "timeout"
    assert queue.wait(queue.add("true")).label == "completed"


COUNT = "i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done"
BURN = f"sh -c '{COUNT}'"  # counts work, not time, because the machine may be busy
ORPHAN = f"""file=$(mktemp); (setsid sh -c '{COUNT}; rm "$0"' $file &)
while [ -e $file ]; do sleep 0.05; done"""


@pytest.mark.parametrize(
    "command",
    [
        f"{BURN}; exit 0",
        f"({BURN}; exit) & wait; exit 0",
        ORPHAN,
        f"(trap '' TERM; {COUNT}) & sleep 0.1; exit 0",
    ],
    ids=["by a child", "by a grandchild", "by an orphan", "after the shell has gone"],
)
def test_cpu_time_is_that_of_all_processes(served: Queue, command: str) -> None:
    name = served.add(command, max_retries=1, kill_grace=10)
    served.wait(name)
    cpu_ms = only(served, name).cpu_ms
    assert cpu_ms is not None
    assert 200 <= cpu_ms <= 3000


def test_peak_memory_is_that_of_the_largest_process(served: Queue) -> None:
    """It is at least the size of a worker, which the kernel counts before the exec."""
    name = served.add("head -c 100M /dev/zero | tail -n 1 | wc -c", env={"LC_ALL": "C"})
    served.wait(name)
    peak_kib = only(served, name).peak_kib
    assert peak_kib is not None
    assert 100 * 1024 <= peak_kib <= 250 * 1024
    small = served.add("true")
    served.wait(small)
    least_kib = only(served, small).peak_kib
    assert least_kib is not None
    assert least_kib < 40 * 1024


def test_a_timeout_is_for_each_attempt_anew(served: Queue, sleeper: MarkedSleep) -> None:
    name = served.add(f"exec sleep {sleeper}", timeout=0.2, max_retries=3, backoff_max=0)
    assert served.wait(name).label == "dead"
    assert [str(a.outcome) for a in served.attempts(name)] == ["timeout"] * 3


@pytest.mark.parametrize("days", [30, 36_500])
def test_a_job_of_many_days_is_a_job_like_any_other(queue: Queue, days: int) -> None:
    service = queue.serve(workers=1)
    name = queue.add("sleep 0.2; exit 0", timeout=days * 86_400, kill_grace=86_400)
    later = queue.add("true", delay=30 * 86_400)
    assert queue.wait(name).label == "completed"
    assert queue.job(later).label == "scheduled"
    assert not service.logged("child.died")


@pytest.mark.both_engines
def test_exit_codes_in_no_retry_on_make_a_job_dead(served: Queue) -> None:
    name = served.add("exit 64", max_retries=5, no_retry_on=[2, 64])
    job = served.wait(name)
    assert (job.label, job.runs, job.attempts) == ("dead", 1, 1)
    other = served.add("exit 65", max_retries=2, no_retry_on=[2, 64], backoff_max=0)
    assert served.wait(other).runs == 2


@pytest.mark.both_engines
def test_exit_codes_in_cancel_on_cancel_a_job(served: Queue) -> None:
    name = served.add("echo none; exit 3", cancel_on=[3], on_dead="touch dead")
    job = served.wait(name)
    assert (job.label, job.runs, job.attempts) == ("cancelled", 1, 0)
    assert job.last_error == "exit 3: none"
    assert [(one.outcome, one.exit_code) for one in served.attempts(name)] == [("exit", 3)]
    assert "touch dead" not in [one.command for one in served.jobs()]


@pytest.mark.both_engines
def test_exit_codes_in_defer_on_do_not_count_as_failed(served: Queue) -> None:
    """The job exits with 75 five times, then with 0, and waits its delay each time."""
    starts = served.file("starts")
    starts.write_text("")
    name = served.add(
        f"date +%s%3N >> {starts}; [ $(wc -l < {starts}) -gt 5 ] || exit 75",
        max_retries=1,
        defer_on=[75],
        defer_delay=0.1,
        backoff_base=1.0,
    )
    job = served.wait(name)
    assert (job.label, job.runs, job.attempts) == ("completed", 6, 0)
    runs = served.attempts(name)
    assert [(a.number, a.exit_code, a.deferrals) for a in runs] == [(5, 75, 5), (6, 0, 0)]
    times_ms = [int(line) for line in starts.read_text().split()]
    assert all(b - a >= 100 for a, b in pairwise(times_ms))
