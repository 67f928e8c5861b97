"""worker start, stop and list: a service lives while it holds its lock."""

import os
import sys
from pathlib import Path

import pytest

from queued.core.times import now_ms
from queued.ctl.command_line import main
from queued.ctl.live_services import no_service
from queued.store import instance_lock, paths
from tests.cli.queuectl_runner import NO_SERVICE, QueuectlRunner
from tests.service import eventually


class Service:
    """A service that only holds its lock; `end` is its death."""

    def __init__(self, queuectl: QueuectlRunner, name: str) -> None:
        self.name = name
        self._descriptor = queuectl.register(name)
        with queuectl.ledger.transaction():
            queuectl.ledger.worker_started(name, 1, 5001, now_ms=now_ms())
            queuectl.ledger.worker_started(name, 2, 5002, now_ms=now_ms())

    def end(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def service(queuectl: QueuectlRunner) -> Service:
    queuectl.add("a" * 64, "sleep 100; " * 20)
    alive = Service(queuectl, "alive")
    Service(queuectl, "dead").end()
    queuectl.claim("alive", 2)
    return alive


def _stop_requested(queuectl: QueuectlRunner, name: str) -> bool:
    instance = queuectl.ledger.instance(name)
    return instance is not None and instance.stop_requested_ms is not None


@pytest.mark.both_engines
def test_nothing_runs(queuectl: QueuectlRunner) -> None:
    done = queuectl("worker", "stop")
    assert done == (0, "", f"queuectl: no service runs on {queuectl.engine.name}\n")
    queuectl.ok("config", "set", "workers", "2")
    assert queuectl("worker", "list") == (
        *(0, ""),
        f"{NO_SERVICE}\n",
    )
    assert queuectl.json("worker", "list") == []


@pytest.mark.both_engines
def test_list(queuectl: QueuectlRunner, service: Service) -> None:
    lines = queuectl.ok("worker", "list", COLUMNS="80").splitlines()
    assert lines[0] == "alive: pid 4711, queued 0.1.0"
    assert lines[2:5] == [
        "JOB               WORKER      PID  CMD PID      FOR  COMMAND",
        "-                      1     5001        -           idle",
        "a" * 64,
    ]
    assert "     2     5002        -" in lines[5]
    assert max(map(len, lines)) <= 80
    (instance,) = queuectl.json("worker", "list")
    assert [worker["job"] for worker in instance["workers"]] == [None, "a" * 64]
    assert [worker["command_pid"] for worker in instance["workers"]] == [None, None]
    service.end()


@pytest.mark.both_engines
def test_status_counts_workers_of_live_services_only(
    queuectl: QueuectlRunner, service: Service
) -> None:
    status = queuectl.json("status")
    assert (status["workers"], status["instances"]) == (2, 1)
    service.end()
    status = queuectl.json("status")
    assert (status["workers"], status["instances"]) == (0, 0)


def test_enqueue_warns_if_no_service_runs(queuectl: QueuectlRunner, service: Service) -> None:
    assert queuectl("enqueue", "--id", "b", "true") == (0, "b\n", "")
    service.end()
    assert queuectl("enqueue", "--id", "c", "true") == (0, "c\n", f"{NO_SERVICE}\n")


@pytest.mark.both_engines
def test_stop_waits(queuectl: QueuectlRunner, service: Service) -> None:
    process = queuectl.start("worker", "stop")
    eventually(lambda: _stop_requested(queuectl, "alive"))
    assert process.poll() is None
    service.end()
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"alive (pid 4711) stopped\n", b"")
    assert not _stop_requested(queuectl, "dead")


def test_stop_without_waiting(queuectl: QueuectlRunner, service: Service) -> None:
    out = queuectl.ok("worker", "stop", "--no-wait")
    assert out == "alive (pid 4711) is stopping\n"
    assert queuectl.json("worker", "stop", "--no-wait") == {"asked": ["alive"]}
    assert "stopping" in queuectl.ok("worker", "list")
    service.end()


@pytest.mark.both_engines
def test_stop_gives_up(queuectl: QueuectlRunner, service: Service) -> None:
    done = queuectl("worker", "stop", "--timeout", "0.2")
    told = "queuectl: timed out after 0.2s: alive (pid 4711) is stopping and still runs\n"
    assert done == (124, "", told)
    service.end()


def test_stop_waits_for_as_long_as_one_likes(queuectl: QueuectlRunner, service: Service) -> None:
    for_ever = ("--timeout", "9" * 20)
    process = queuectl.start("worker", "stop", *for_ever)
    eventually(lambda: _stop_requested(queuectl, "alive"))
    service.end()
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"alive (pid 4711) stopped\n", b"")
    assert queuectl("worker", "stop", *for_ever).code == 0


def test_the_warning_names_the_database_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    system = tmp_path / "system.db"
    monkeypatch.setattr(paths, "SYSTEM_DATABASE", str(system))
    line = ["enqueue", "--db", str(tmp_path / "own" / "q.db"), "true"]
    assert main(line) == 0
    assert "of the system" not in capsys.readouterr().err
    system.touch()
    assert main(line) == 0
    assert capsys.readouterr().err.endswith(f"runs on --db {system}\n")


@pytest.mark.parametrize("count", ["0", "-1", "x", "1025", "1.5"])
def test_a_bad_count(queuectl: QueuectlRunner, count: str) -> None:
    done = queuectl("worker", "start", "--count", count)
    told = f"queuectl: --count takes a whole number from 1 to 1024, not {count!r}\n"
    assert done == (2, "", told)
    assert queuectl.dump() is None


def test_start_becomes_queued(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = tmp_path / "my.conf"
    conf.write_text("workers = 5\n")
    seen: list[str] = []
    monkeypatch.setattr(os, "execv", lambda path, words: seen.extend([path, *words]))
    monkeypatch.setenv("QUEUECTL_DB", str(tmp_path / "q.db"))
    words = ["worker", "start", "--count", "3", "--background", "--another"]
    main([*words, "--config", str(conf)])
    assert seen == [
        *(sys.executable, sys.executable, "-P", "-m", "queued", "--db", str(tmp_path / "q.db")),
        *("--config", str(conf), "--workers", "3", "--background"),
    ]


def test_a_python_that_cannot_be_executed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.touch(0o600)
    monkeypatch.setattr(sys, "executable", str(python))
    assert main(["worker", "start", "--db", str(tmp_path / "queue.db")]) == 77
    assert capfd.readouterr().err == f"queuectl: {python}: Permission denied\n"


@pytest.mark.both_engines
def test_a_lock_file_that_cannot_be_opened_is_named(
    queuectl: QueuectlRunner,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = instance_lock.path_of(queuectl.engine.instance_files, "dead")
    plain = os.open

    def refusing(name: str, *arguments: int, **how: int) -> int:
        if name == path:
            raise PermissionError(13, os.strerror(13), path)
        return plain(name, *arguments, **how)

    monkeypatch.setattr(os, "open", refusing)
    for variable, value in queuectl.location.items():
        monkeypatch.setenv(variable, value)
    assert main(["worker", "list"]) == 0
    out, err = capfd.readouterr()
    assert ("alive: pid 4711" in out, "dead: pid 4711" in out) == (True, True)
    told = f"queuectl: cannot tell whether dead (pid 4711) lives: {path}: Permission denied"
    assert err == f"{told}\n"


@pytest.mark.usefixtures("service")
def test_config_set_says_when_a_running_service_applies_it(queuectl: QueuectlRunner) -> None:
    told = "queuectl: the service with pid 4711"
    done = queuectl("config", "set", "backoff-max", "1 min")
    assert done.err == f"{told} applies it now\n"
    done = queuectl("config", "set", "kill-grace", "1 min")
    assert done.err == f"{told} applies it to runs that start from now on\n"
    done = queuectl("config", "set", "workers", "3")
    flag = "--workers (worker start --count)"
    assert done.err == f"{told} does not apply it: it was started with {flag}\n"
    assert queuectl("config", "set", "max-retries", "5").err == ""


def test_advice_names_the_database_that_was_named(queuectl: QueuectlRunner, tmp_path: Path) -> None:
    path = str(tmp_path / "a b.db")
    command = f"queuectl --db '{path}'"
    assert queuectl("--db", path, "config", "set", "workers", "2").code == 0
    assert queuectl("--db", path, "worker", "list").err == f"{no_service(command)}\n"
    assert f"(see: {command} list)" in queuectl("--db", path, "show", "x").err
