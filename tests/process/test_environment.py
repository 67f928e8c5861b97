"""The environment of a command: variables, directory, mask, limits, descriptors, signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.service import Queue, eventually


def printed(served: Queue, command: str, /, **fields: Any) -> str:
    """Returns the output of the command, which must complete."""
    name = served.add(command, **{"max_retries": 1, **fields})
    job = served.wait(name)
    assert job.label == "completed", job
    return served.output(name).decode()


def variables(served: Queue, /, **fields: Any) -> dict[str, str]:
    """Returns the environment that the command was started with, without the shell's additions."""
    text = printed(served, "cat /proc/$$/environ", **fields)
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


THE_SERVICES = {
    "NOTIFY_SOCKET": "@nobody",
    "WATCHDOG_USEC": "",
    "LISTEN_FDS": "1",
    "INVOCATION_ID": "0123",
    "JOURNAL_STREAM": "8:1",
    "CREDENTIALS_DIRECTORY": "/run/credentials/queued",
    "QUEUECTL_LOG_LEVEL": "debug",
    "QUEUED_JOB_ID": "another",
}


def test_a_run_knows_the_number_of_its_worker(queue: Queue) -> None:
    service = queue.serve(workers=2)
    names = [queue.add("echo $QUEUED_WORKER; exec sleep 1000", max_retries=2) for _ in "ab"]
    for name in names:
        eventually(partial(queue.output, name))
    numbers = {name: queue.attempts(name)[0].worker for name in names}
    assert sorted(numbers.values()) == [1, 2]
    service.kill(service.worker_of(names[0]))
    assert eventually(lambda: queue.output(names[0], attempt=2)) == queue.output(names[0])
    assert [queue.output(name) for name in names] == [b"%d\n" % numbers[name] for name in names]


def test_the_services_environment_less_what_is_its_own(queue: Queue) -> None:
    service = queue.serve(env={**THE_SERVICES, "MINE": "a b\nc"})
    name = queue.add("true", id="probe", queue="mail", max_retries=7)
    queue.wait(name)
    found = variables(queue, id="seen", queue="mail", max_retries=7)
    assert found["MINE"] == "a b\nc"
    ours = {key: value for key, value in found.items() if key.startswith("QUEUED_")}
    assert ours == {
        "QUEUED_JOB_ID": "seen",
        "QUEUED_ATTEMPT": "1",
        "QUEUED_FENCE": ours["QUEUED_FENCE"],
        "QUEUED_MAX_RETRIES": "7",
        "QUEUED_QUEUE": "mail",
        "QUEUED_WORKER": ours["QUEUED_WORKER"],
        "QUEUED_INSTANCE": service.instance,
    }
    assert not (THE_SERVICES.keys() - {"QUEUED_JOB_ID"}) & found.keys()
    assert found["PATH"] == os.environ["PATH"]


def test_bytes_that_are_no_utf8_pass(queue: Queue) -> None:
    queue.serve(env={"ODD": "\udcff\udcfe"})
    name = queue.add('printf %s "$ODD"')
    queue.wait(name)
    assert queue.output(name) == b"\xff\xfe"


def test_the_attempt_is_known_to_the_command(served: Queue) -> None:
    name = served.add("echo $QUEUED_ATTEMPT; exit 1", max_retries=2, backoff_max=0)
    served.wait(name)
    assert [served.output(name, attempt=n) for n in (1, 2)] == [b"1\n", b"2\n"]


def test_the_fence_grows_with_each_run_and_each_job(served: Queue) -> None:
    names = [served.add("echo $QUEUED_FENCE; exit 1", max_retries=2, backoff_max=0) for _ in "ab"]
    for name in names:
        served.wait(name)
    fences = [int(served.output(name, attempt=n)) for name in names for n in (1, 2)]
    assert sorted({*fences}) == fences


def test_a_clean_environment_has_four_names_and_ours(queue: Queue) -> None:
    queue.configure("environment", "clean")
    queue.serve(env={"SECRET": "x", "LANG": "C.UTF-8", "USER": "me"})
    found = variables(queue, env={"EXTRA": "y"})
    ours = {name for name in found if name.startswith("QUEUED_")}
    assert found.keys() - ours == {"PATH", "HOME", "USER", "LANG", "EXTRA"}
    assert (found["LANG"], found["USER"], found["EXTRA"]) == ("C.UTF-8", "me", "y")
    assert len(ours) == 7


def test_a_job_adds_and_replaces_variables(served: Queue) -> None:
    found = variables(served, env={"HOME": "/elsewhere", "NEW": "grüße 漢字", "EMPTY": ""})
    assert (found["HOME"], found["NEW"], found["EMPTY"]) == ("/elsewhere", "grüße 漢字", "")


def test_the_directory_is_the_jobs(served: Queue) -> None:
    place = served.file("a place")
    place.mkdir()
    assert printed(served, "pwd; readlink /proc/$$/cwd", cwd=str(place)) == f"{place}\n{place}\n"


def test_the_shell_is_the_same_in_a_directory(served: Queue) -> None:
    shown = 'echo "$0" "$#" "$-" "${OLDPWD-none}" "$PWD"; exit 0'
    plain = printed(served, shown).split()
    moved = printed(served, shown, cwd="/usr").split()
    assert moved == [*plain[:-2], "none", "/usr"]
    assert printed(served, "-x 2>/dev/null || echo $0", cwd="/usr") == "sh\n"


@pytest.mark.parametrize("mask", ["077", "0000", "22"])
def test_the_umask_is_the_jobs(served: Queue, mask: str) -> None:
    assert int(printed(served, "umask", umask=mask), 8) == int(mask, 8)


def test_niceness_adds_to_nothing(served: Queue) -> None:
    assert printed(served, "nice", nice=7) == "7\n"
    assert printed(served, "nice") == f"{os.nice(0)}\n"


LIMITS = {"memory": "512M", "cpu": 60, "files": 99, "processes": 4000}


def test_limits_are_set_for_the_job_only(served: Queue) -> None:
    shown = "ulimit -v; ulimit -t; ulimit -n; ulimit -p; ulimit -Hn"
    assert printed(served, shown, limits=LIMITS).split() == ["524288", "60", "99", "4000", "99"]
    assert printed(served, "ulimit -n").split() != ["99"]


def test_a_low_limit_of_descriptors_does_not_keep_a_job_from_its_directory(served: Queue) -> None:
    """The shell that enters the directory needs more of them than the command may have."""
    command = "pwd; ulimit -n; ulimit -Hn"
    assert printed(served, command, cwd="/", limits={"files": 5}).split() == ["/", "5", "5"]
    name = served.add("true", cwd="/gone", limits={"files": 5}, max_retries=1)
    assert "No such file" in (served.wait(name).last_error or "")


def test_a_job_that_eats_memory_harms_only_itself(served: Queue) -> None:
    name = served.add("tail /dev/zero", limits={"memory": "64M"}, max_retries=1)
    assert served.wait(name).label == "dead"
    (attempt,) = served.attempts(name)
    assert attempt.outcome == "exit"
    assert attempt.exit_code == 1
    assert b"memory" in served.output(name)


def test_a_job_that_eats_time_is_ended_by_the_kernel(served: Queue) -> None:
    name = served.add("while :; do :; done", limits={"cpu": 1}, max_retries=1)
    served.wait(name)
    (attempt,) = served.attempts(name)
    assert (attempt.outcome, attempt.signal) in {("signal", "SIGXCPU"), ("signal", "SIGKILL")}


def test_a_limit_too_small_to_start_is_a_failed_attempt(served: Queue) -> None:
    name = served.add("true", limits={"memory": "1M"}, max_retries=1)
    assert served.wait(name).label == "dead"


@pytest.mark.parametrize("fields", [{}, {"nice": 0}], ids=["spawned", "forked"])
def test_the_kernel_prefers_to_end_commands_for_lack_of_memory(
    served: Queue, fields: dict[str, Any]
) -> None:
    """The service is larger than each of many small processes, so that it would be killed first."""
    own = int(Path("/proc/self/oom_score_adj").read_text())
    worker_has_its_own = f"until grep -qx {own} /proc/$PPID/oom_score_adj; do sleep 0.01; done"
    shown = f"cat /proc/$$/oom_score_adj; {worker_has_its_own}"  # it may begin first
    assert printed(served, shown, timeout=30, **fields) == f"{min(own + 200, 1000)}\n"


def test_all_fields_at_once(served: Queue) -> None:
    shown = "pwd; umask; nice; ulimit -n; echo $X"
    fields = {"cwd": "/", "umask": "027", "nice": 3, "limits": {"files": 50}, "env": {"X": "1"}}
    assert printed(served, shown, **fields).split() == ["/", "0027", "3", "50", "1"]


SPECIAL = {"plain": {}, "cwd": {"cwd": "/"}, "limits": {"limits": {"files": 100}, "nice": 1}}
DESCRIPTORS = "ls -l /proc/$$/fd; exit 0"


@pytest.mark.parametrize("fields", SPECIAL.values(), ids=SPECIAL.keys())
def test_there_are_three_descriptors_and_the_lock_of_the_runs(
    served: Queue, fields: dict[str, Any]
) -> None:
    lines = printed(served, DESCRIPTORS, **fields).splitlines()[1:]
    names = [line.split(" -> ")[0].split()[-1] for line in lines]
    assert names == ["0", "1", "2", "200"]
    assert lines[0].endswith("/dev/null")
    assert lines[3].endswith(".lock")
    assert lines[1].split(" -> ")[1] == lines[2].split(" -> ")[1], "one pipe for both, in order"


# Signals 32 and 33 are reserved: posix_spawn(3) of glibc makes every program ignore them.
LIBC_ITS_OWN = 0b11 << 31


@contextmanager
def odd_signals() -> Iterator[None]:
    """Signals are ignored and blocked, as in a program whose parent did not reset them."""
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR2, 40)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM, 50})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("fields", SPECIAL.values(), ids=SPECIAL.keys())
def test_signals_have_their_defaults(queue: Queue, fields: dict[str, Any]) -> None:
    with odd_signals():
        service = queue.serve(workers=1)
    text = printed(queue, "exec cat /proc/self/status", **fields)
    found = {
        name: int(value, 16) & ~LIBC_ITS_OWN
        for name, value in (line.split(":", 1) for line in text.splitlines())
        if name in ("SigBlk", "SigIgn", "SigCgt")
    }
    assert found == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}
    assert service.stop() == 0, "the service itself handles TERM, too"


@pytest.mark.parametrize("fields", SPECIAL.values(), ids=SPECIAL.keys())
def test_a_command_has_a_session_and_no_terminal(served: Queue, fields: dict[str, Any]) -> None:
    text = printed(served, "ps -o sid=,pgid=,tty= -p $$; echo $$", **fields)
    session, group, terminal, pid = text.split()
    assert session == group == pid
    assert terminal == "?"


@contextmanager
def redirected(queue: Queue, redirections: str) -> Iterator[None]:
    """A service that was started with open files of its parent, or without standard streams."""
    command = f"exec {sys.executable} -m queued --db '{queue.path}' --workers 1 {redirections}"
    process = subprocess.Popen(["sh", "-c", command])
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_files_that_the_service_was_started_with_stay_with_it(queue: Queue) -> None:
    with redirected(queue, "7</etc/passwd 8>/dev/null"):
        lines = printed(queue, DESCRIPTORS).splitlines()[1:]
    assert len(lines) == 4, lines
    assert lines[3].endswith(".lock")


def test_missing_standard_streams_of_the_service_do_no_harm(queue: Queue) -> None:
    """The first files that the service opens would have the numbers 0 to 2."""
    with redirected(queue, "<&- >&- 2>&-"):
        text = printed(queue, "readlink /proc/$$/fd/0; echo out; echo err >&2")
    assert text == "/dev/null\nout\nerr\n"
