"""wait: its exit codes, and the warning if no service runs."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from queued.core.model import Outcome
from queued.core.runs import Ending
from queued.ctl import wait
from queued.ctl.change_watch import Watch
from queued.store.change_watcher import ChangeWatcher
from tests.cli.queuectl_runner import NO_SERVICE, OK, QueuectlRunner, failed
from tests.service import eventually

pytestmark = pytest.mark.both_engines

ENDINGS = {
    "completed": (OK, 0),
    "exit": (failed(7), 7),
    "signal": (Ending(Outcome.SIGNAL, signal="SIGKILL"), 137),
    "timeout": (Ending(Outcome.TIMEOUT), 1),
    "timeout with a signal": (Ending(Outcome.TIMEOUT, signal="SIGTERM"), 143),
    "spawn error": (Ending(Outcome.SPAWN_ERROR, error="no such directory"), 1),
    "cancelled": (Ending(Outcome.CANCELLED), 1),
    "lost": (Ending(Outcome.LOST), 1),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_code_of_one_job(queuectl: QueuectlRunner, name: str) -> None:
    ending, code = ENDINGS[name]
    queuectl.run("a", ending, max_retries=1)
    assert queuectl("wait", "a").code == code
    done = queuectl("wait", "a", "--json")
    assert done.code == code
    assert f'"exit_code": {code}' in done.out


def test_cancelled_before_it_ran(queuectl: QueuectlRunner) -> None:
    queuectl.run("a", failed(7))
    queuectl.ok("cancel", "a")
    assert queuectl("wait", "a") == (1, "a cancelled\n", "")
    queuectl.add("b", after=["a"])
    assert queuectl("wait", "b") == (1, "b cancelled: dependency: a is cancelled\n", "")


def test_several_jobs(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    queuectl.run("b")
    assert queuectl("wait", "a", "b") == (0, "a completed\nb completed\n", "")
    queuectl.run("c", failed(7, b"bad\n"), max_retries=1)
    assert queuectl("wait", "c", "a") == (1, "c dead: exit 7: bad\na completed\n", "")


def test_unknown_and_time_out(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    assert queuectl("wait", "a", "nope").code == 3
    done = queuectl("wait", "a", "--timeout", "100ms")
    assert done == (124, "", "queuectl: timed out after 0.1s: 1 job not finished\n")
    assert queuectl("wait", "a", "--timeout", "soon").code == 2


def test_a_warning_if_no_service_runs(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    began = time.monotonic()
    waiting = [queuectl.start(*words) for words in (["wait", "a"], ["logs", "-f", "a"])]
    enqueue = queuectl.start("enqueue", "--wait", "--id", "b", "true")
    assert enqueue.stderr
    assert enqueue.stderr.readline() == b"b\n"
    for process in (*waiting, enqueue):
        assert process.stderr
        assert process.stderr.readline().decode() == f"{NO_SERVICE}\n"
        assert time.monotonic() - began >= 1.5


class SlowCommit:
    """A store whose commit can be seen some time after it was written."""

    def __init__(self, seen_s: float, database: Path) -> None:
        self._seen_s = seen_s
        self._database = database

    def watcher(self) -> ChangeWatcher:
        return ChangeWatcher(str(self._database))

    def version(self) -> int:
        return int(time.monotonic() >= self._seen_s)


def test_a_commit_that_is_slow_to_come(tmp_path: Path) -> None:
    """The kernel tells of the write while the commit is still being made durable."""
    database = tmp_path / "queue.db"
    seen_s = time.monotonic() + 0.5
    with closing(Watch(SlowCommit(seen_s, database))) as watch:  # type: ignore[arg-type]
        Path(f"{database}-wal").write_bytes(b"frames")
        watch.wait(4)
    assert 0 <= time.monotonic() - seen_s < 2


def test_a_wait_for_a_state(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    queuectl.run("b", failed(7), max_retries=1, priority=1)
    assert queuectl("wait", "a", "--until", "pending") == (0, "a pending\n", "")
    waits = queuectl.start("wait", "a", "--until", "processing")
    eventually(lambda: queuectl.is_waiting(waits), "it waits")
    queuectl.claim()
    assert waits.communicate(timeout=20)[0] == b"a processing\n"
    assert waits.returncode == 0
    assert queuectl("wait", "b", "--until", "processing").code == 7
    assert "did you mean 'processing'?" in queuectl("wait", "a", "--until", "running").err


def test_a_wait_for_a_state_or_the_end(queuectl: QueuectlRunner) -> None:
    queuectl.run("ok")
    queuectl.run("retries", failed(1), max_retries=2)
    queuectl.run("dead", failed(1), max_retries=1)
    assert queuectl("wait", "retries", "ok", "--until", "failed").code == 0
    assert queuectl("wait", "retries", "dead", "--until", "failed").code == 1


@pytest.mark.parametrize("words", [["a", "b"], ["--queue", "default"]])
def test_a_wait_ends_at_the_first_failure(queuectl: QueuectlRunner, words: list[str]) -> None:
    queuectl.add("a", max_retries=1)
    queuectl.add("b")
    claim = queuectl.claim()
    waits = queuectl.start("wait", "--fail-fast", *words)
    eventually(lambda: queuectl.is_waiting(waits), "it waits")
    queuectl.end(claim, failed(7))
    out, _ = waits.communicate(timeout=30)
    assert (waits.returncode, out.decode()) == (1, "a dead: exit 7\n")


def test_a_wait_for_what_matches(queuectl: QueuectlRunner) -> None:
    queuectl.add("other", delay=3600)
    queuectl.run("before", failed(7), max_retries=1, queue="a", priority=1)
    nothing = "queuectl: nothing to wait for: no job matches\n"
    assert queuectl("wait", "--queue", "a") == (0, "", nothing)
    assert "--until needs ids" in queuectl("wait", "--queue", "a", "--until", "processing").err
    queuectl.add("b", queue="a", priority=1)
    told = "queuectl: timed out after 0.1s: 1 job not finished\n"
    assert queuectl("wait", "--queue", "a", "--timeout", "100ms") == (124, "", told)
    claim = queuectl.claim()
    assert queuectl("wait", "--queue", "a", "--state", "pending") == (0, "", nothing)
    queuectl.add("c", queue="a", priority=1)
    waits = queuectl.start("wait", "--queue", "a")
    eventually(lambda: queuectl.is_waiting(waits), "it waits")
    queuectl.end(claim, failed(7, b"bad\n"))
    queuectl.ok("cancel", "b")
    assert waits.poll() is None
    queuectl.end(queuectl.claim())
    out, _ = waits.communicate(timeout=20)
    assert (waits.returncode, out) == (1, b"b cancelled\n")
    assert queuectl("wait").code == queuectl("wait", "--all", "b").code == 2


def test_a_terminal_shows_how_long_the_others_take(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, times_s = list[str](), iter([100.0, 130.0])
    monkeypatch.setattr(wait, "progress", shown.append)
    monkeypatch.setattr(wait, "monotonic_s", lambda: next(times_s))
    counter = wait._EndedCounter(10)
    for ended in (2, 4, 4, 10):
        counter.show(ended)
    assert shown[:2] == ["waiting: 2 of 10 ended", "waiting: 4 of 10 ended, about 1m30s left"]
    assert shown[2:] == [""]
