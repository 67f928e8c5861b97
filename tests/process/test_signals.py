"""The signals of `queued --help`, on a real service, and what a reload does without systemd."""

import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest

from queued.__main__ import USAGE
from queued.core.errors import ConfigError
from queued.core.model import Instance
from queued.core.settings import Settings
from queued.service.instance import InstancePrograms, SettingsOrigin
from queued.service.ipc.run_notes import RunNotes
from queued.service.ipc.scoreboard import Scoreboard
from queued.store import instance_lock, paths
from tests.service import Queue, Service, eventually


def workers(service: Service) -> int:
    """How many workers live: all descendants but the dispatcher, while no job runs."""
    return len(service.descendants()) - 1


def _has_workers(service: Service, count: int) -> bool:
    return workers(service) == count


def test_ttin_and_ttou_make_one_worker_more_and_one_fewer(queue: Queue) -> None:
    service = queue.serve(workers=2)
    service.process.send_signal(signal.SIGTTIN)
    eventually(lambda: workers(service) == 3)
    for left in (2, 1):
        service.process.send_signal(signal.SIGTTOU)
        eventually(partial(_has_workers, service, left))
    service.process.send_signal(signal.SIGTTOU)  # one always stays
    assert queue.wait(queue.add("true")).label == "completed"
    eventually(lambda: workers(service) == 1)
    service.process.send_signal(signal.SIGTTIN)
    eventually(lambda: workers(service) == 2)


def test_ttou_interrupts_no_job(queue: Queue) -> None:
    service = queue.serve(workers=2)
    names = queue.add_all(["sleep 0.7"] * 2)
    for name in names:
        queue.wait(name, "processing")
    service.process.send_signal(signal.SIGTTOU)
    for name in names:
        assert queue.wait(name).runs == 1
    eventually(lambda: workers(service) == 1)


def test_usr1_logs_a_snapshot(queue: Queue) -> None:
    service = queue.serve(workers=2)
    names = queue.add_all(["sleep 60"] * 3)
    queue.wait(names[1], "processing")
    service.process.send_signal(signal.SIGUSR1)
    (queue_line,) = eventually(lambda: service.logged("queue.described"))
    (service_line,) = service.logged("service.described")
    assert (queue_line["processing"], queue_line["pending"]) == (2, 1)
    assert {run["job"] for run in queue_line["running"]} == set(names[:2])
    assert service_line["children"] == {str(slot): service.child(slot) for slot in range(3)}
    assert service_line["stage"] == "running"


def conf(queue: Queue, text: str) -> Path:
    path = queue.directory / "queuectl.conf"
    path.write_text(text)
    return path


def test_hup_renews_the_idle_at_once_and_the_busy_when_they_are_done(queue: Queue) -> None:
    path = conf(queue, "kill_grace = 5\n")
    service = queue.serve("--config", str(path), workers=3)
    name = queue.add("sleep 1")
    queue.wait(name, "processing")
    busy = service.worker_of(name)
    before = {slot: service.child(slot) for slot in range(4)}
    conf(queue, "kill_grace = 7\n")
    service.process.send_signal(signal.SIGHUP)
    idle = [slot for slot, pid in before.items() if pid != busy]
    eventually(lambda: all(service.child(slot) != before[slot] for slot in idle))
    assert queue.job(name).label == "processing"
    assert not service.logged("reload.finished")
    eventually(lambda: service.logged("reload.finished"))
    assert queue.job(name).label == "completed"
    assert not set(before.values()) & {service.child(slot) for slot in range(4)}
    assert service.logged("settings.applied")[-1]["kill_grace"] == 7.0


def test_what_is_back_at_its_default_is_applied_too(queue: Queue) -> None:
    path = conf(queue, "shutdown_grace = 5\n")
    service = queue.serve("--config", str(path), workers=1)
    conf(queue, "")
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.logged("reload.finished"))
    service.stop()
    assert service.logged("service.draining")[0]["grace_s"] == 30.0


def test_a_conf_file_that_was_not_there_at_the_start_is_found(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "SYSTEM_CONF", str(queue.directory / "queuectl.conf"))
    origin = SettingsOrigin({}, {"XDG_CONFIG_HOME": "/nowhere"}, None, {})
    assert origin.again() == origin
    conf(queue, "kill_grace = 3\n")
    assert origin.again().resolve({}).kill_grace == 3.0


def test_another_database_needs_a_restart(queue: Queue) -> None:
    path = conf(queue, f'db_path = "{queue.path}"\n')
    origin = SettingsOrigin({}, {}, str(path), paths.read_conf(str(path)))
    instance = Instance("i", "here", 1, "0", 0, None)
    lock = instance_lock.create_locked(str(queue.file("lock")))
    programs = InstancePrograms(
        instance=instance,
        lock=lock,
        database=queue.path,
        origin=origin,
        settings=Settings(),
        scoreboard=Scoreboard(RunNotes(lock)),
        cgroups=None,
    )
    programs.reload()
    conf(queue, 'db_path = "/elsewhere/queue.db"\nlog_level = "debug"\n')
    with pytest.raises(ConfigError, match="/elsewhere/queue.db: restart the service"):
        programs.reload()
    assert programs.settings.log_level == "info"


def _more_reloads(service: Service, than: int) -> bool:
    return len(service.logged("reload.started")) > than


def test_a_storm_of_hups_loses_no_job(queue: Queue) -> None:
    service = queue.serve(workers=3)
    names = queue.add_all([f"sleep 0.05; echo {n} >> {queue.file('lines')}" for n in range(40)])
    for _ in range(8):
        begun = len(service.logged("reload.started"))
        service.process.send_signal(signal.SIGHUP)
        eventually(partial(_more_reloads, service, begun))
    queue.wait_all(40)
    assert [queue.job(name).runs for name in names] == [1] * 40
    assert len(queue.file("lines").read_text().split()) == 40
    eventually(lambda: service.logged("reload.finished"))


def test_hup_while_draining_is_nothing(queue: Queue) -> None:
    service = queue.serve(workers=1)
    name = queue.add("sleep 0.5")
    queue.wait(name, "processing")
    service.process.send_signal(signal.SIGTERM)
    eventually(lambda: service.logged("service.draining"))
    service.process.send_signal(signal.SIGHUP)
    assert service.ended() == 0
    assert queue.job(name).label == "completed"
    assert not service.logged("reload.started")


def test_the_signals_that_are_handled_are_those_of_the_help() -> None:
    table = USAGE.split("Signals:\n")[1]
    words = "".join(re.findall(r"^  (\S.{0,19})", table, re.MULTILINE))
    named = set(re.findall(r"\b[A-Z]{3,4}[12]?\b", words))
    from queued.service.supervisor.supervisor import _HANDLED

    assert named == {number.name.removeprefix("SIG") for number in _HANDLED}


def test_output_is_logged_where_that_is_asked_for_and_secrets_never(queue: Queue) -> None:
    service = queue.serve(workers=1, env={"QUEUECTL_LOG_OUTPUT": "true"})
    name = queue.add(
        "printf 'one\\ntwo'; echo bad >&2; exit 1",
        max_retries=1,
        split=True,
        env={"TOKEN": "s3cret-of-the-job"},
    )
    queue.wait(name)
    eventually(lambda: service.logged("job.finished"))
    lines = {(x["stream"], x["line"], x["job"]) for x in service.logged("job.printed")}
    assert lines == {("stdout", "one", name), ("stdout", "two", name), ("stderr", "bad", name)}
    service.process.send_signal(signal.SIGUSR1)
    eventually(lambda: service.logged("queue.described"))
    assert "s3cret" not in service.log_path.read_text()


def test_output_is_not_logged_otherwise(queue: Queue) -> None:
    service = queue.serve(workers=1)
    queue.wait(queue.add("echo once-in-a-while"))
    eventually(lambda: service.logged("job.finished"))
    assert service.logged("job.printed") == []


def test_no_line_has_a_priority_where_the_journal_does_not_listen(queue: Queue) -> None:
    service = queue.serve(workers=1, env={"JOURNAL_STREAM": "1:2"})
    assert all(line.startswith("{") for line in service.log_path.read_text().splitlines())


def test_a_terminal_gets_text_with_colours(queue: Queue) -> None:
    import pty
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "queued", "--db", queue.path, "--workers", "1"],
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs)
    text = b""
    while b"service.ready" not in text:
        text += os.read(ours, 4096)
    process.terminate()
    assert process.wait(20) == 0
    os.close(ours)
    assert b"\x1b[" in text
    assert b'{"ts"' not in text


def test_a_reload_that_cannot_be_recorded_is_made(queue: Queue) -> None:
    """Who waits for it is not told; all else goes on."""
    service = queue.serve(env={"RUNTIME_DIRECTORY": str(queue.directory / "gone")})
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.logged("reload.finished"))
    assert len(service.logged("reload.not_recorded")) == 3
    assert service.stop() == 0
