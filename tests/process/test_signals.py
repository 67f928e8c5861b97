"""The signals of `queued --help`, on a real service, and what a reload does without systemd."""

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from queued.__main__ import USAGE
from queued.core.errors import ConfigError
from queued.service.dispatcher.live_settings import SettingsOrigin
from queued.service.ipc.scoreboard import WARDEN
from queued.store import paths
from tests.service import WATCHED, Queue, Service, eventually


def workers(service: Service) -> int:
    """How many workers live, while no job runs: not the dispatcher, nor a warden."""
    return len(service.descendants()) - 1 - service.queue.engine.spans_hosts


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


@pytest.mark.parametrize("slot", [None, 0, 1], ids=["supervisor", "dispatcher", "worker"])
def test_signals_without_a_meaning_change_nothing(queue: Queue, slot: int | None) -> None:
    service = queue.serve(workers=1)
    name = queue.add("sleep 0.5")
    queue.wait(name, "processing")
    children = service.child(0), service.child(1)
    pid = service.pid if slot is None else children[slot]
    for number in (signal.SIGUSR2, signal.SIGALRM, signal.SIGPROF, signal.SIGIO, signal.SIGRTMAX):
        os.kill(pid, number)
    assert queue.wait(name).runs == 1
    assert (service.child(0), service.child(1)) == children
    assert service.stop() == 0


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
    slots = {"dispatcher": 0, "worker 1": 1, "worker 2": 2}
    slots |= {"warden": WARDEN} if queue.engine.spans_hosts else {}
    assert service_line["children"] == {name: service.child(at) for name, at in slots.items()}
    assert service_line["stage"] == "running"


def conf(queue: Queue, text: str) -> Path:
    path = queue.directory / "queuectl.conf"
    path.write_text(text)
    return path


def reload(service: Service) -> dict[str, Any]:
    """Sends HUP and returns the line that says how the reload ended."""
    before = len(_reloads(service))
    service.process.send_signal(signal.SIGHUP)
    return eventually(lambda: _reloads(service)[before:])[0]


def _reloads(service: Service) -> list[dict[str, Any]]:
    return [*service.logged("reload.finished"), *service.logged("reload.refused")]


def test_hup_applies_the_conf_file_while_a_job_runs_and_replaces_no_process(queue: Queue) -> None:
    path = conf(queue, "kill_grace = 5\n")
    service = queue.serve("--config", str(path), workers=3)
    name = queue.add("sleep 60")
    queue.wait(name, "processing")
    before = [service.child(slot) for slot in range(4)]
    conf(queue, "kill_grace = 7\n")
    assert reload(service)["event"] == "reload.finished"
    assert queue.job(name).label == "processing"
    assert [service.child(slot) for slot in range(4)] == before
    assert service.logged("settings.applied")[-1]["kill_grace"] == 7.0


def test_a_bad_conf_file_is_refused_and_changes_nothing(queue: Queue) -> None:
    path = conf(queue, "kill_grace = 5\nshutdown_grace = 20\n")
    service = queue.serve("--config", str(path), workers=1)
    conf(queue, "kill_grace = -1\nshutdown_grace = 7\n")
    line = reload(service)
    assert (line["event"], line["level"]) == ("reload.refused", "error")
    assert "kill_grace takes a number" in line["error"]
    dispatcher = service.child(0)
    service.kill(dispatcher)  # nor does the next one take anything of it
    service.replaced(0, dispatcher)
    assert queue.wait(queue.add("true")).label == "completed"
    assert not service.logged("settings.applied", shutdown_grace=7.0)
    service.stop()
    assert service.logged("service.draining")[0]["grace_s"] == 20.0


def test_the_next_dispatcher_starts_with_the_reloaded_file(queue: Queue) -> None:
    path = conf(queue, "shutdown_grace = 5\n")
    service = queue.serve("--config", str(path), workers=1)
    conf(queue, "shutdown_grace = 7\n")
    reload(service)
    conf(queue, "shutdown_grace = 9\n")  # without a reload it says nothing
    before = service.child(0)
    service.kill(before)
    service.replaced(0, before)
    assert queue.wait(queue.add("true")).label == "completed"
    service.stop()
    assert service.logged("service.draining")[0]["grace_s"] == 7.0


def test_hup_while_no_dispatcher_answers_is_answered_by_the_next(queue: Queue) -> None:
    path = conf(queue, "kill_grace = 5\n")
    service = queue.serve("--config", str(path), workers=1, env=WATCHED)
    service.kill(service.child(0), signal.SIGSTOP)
    conf(queue, "kill_grace = 7\n")
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.logged("reload.started"))
    service.process.send_signal(signal.SIGHUP)  # a second one meanwhile
    eventually(lambda: len(service.logged("reload.started")) == 2)
    assert not _reloads(service)
    service.kill(service.child(0))
    eventually(lambda: _reloads(service))
    assert service.logged("settings.applied")[-1]["kill_grace"] == 7.0


WITHOUT_LEVEL = """
import sys
from queued.__main__ import main
at = sys.argv.index("--log-level")  # the flag would win over the conf file
del sys.argv[at : at + 2]
main()
"""


def test_hup_sets_the_log_level_of_all_processes(queue: Queue) -> None:
    path = conf(queue, "log_level = 'info'\n")
    program = ("-c", WITHOUT_LEVEL)
    service = queue.spawn("--config", str(path), workers=1, program=program).ready()
    queue.wait(queue.add("true"))
    assert not service.logged("job.started")
    conf(queue, "log_level = 'debug'\n")
    reload(service)
    queue.wait(queue.add("true"))
    assert {line["role"] for line in service.logged("job.started")} == {"worker"}
    assert {line["role"] for line in service.logged("job.claimed")} == {"dispatcher"}
    conf(queue, "log_level = 'error'\n")
    reload_count = len(service.logged("reload.started"))
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(service.logged("reload.started")) > reload_count)
    service.stop()
    assert not service.logged("service.stopped")


def test_a_conf_file_that_was_not_there_at_the_start_is_found(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "SYSTEM_CONF", str(queue.directory / "queuectl.conf"))
    origin = SettingsOrigin({}, {"XDG_CONFIG_HOME": "/nowhere"}, None, {})
    assert origin.reread() == origin
    conf(queue, "kill_grace = 3\n")
    assert origin.reread().resolve({}).kill_grace == 3.0


def test_another_database_needs_a_restart(queue: Queue) -> None:
    path = conf(queue, f'db = "{queue.path}"\n')
    origin = SettingsOrigin({}, {}, str(path), paths.read_conf(str(path)))
    assert origin.reread() == origin
    conf(queue, 'db = "/elsewhere/queue.db"\nlog_level = "debug"\n')
    with pytest.raises(ConfigError, match="/elsewhere/queue.db: restart the service"):
        origin.reread()


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
    eventually(lambda: len(service.logged("reload.finished")) == 8)


def test_hup_while_draining_is_ignored(queue: Queue) -> None:
    service = queue.serve(workers=1)
    name = queue.add("sleep 0.5")
    queue.wait(name, "processing")
    service.process.send_signal(signal.SIGTERM)
    eventually(lambda: service.logged("service.draining"))
    service.process.send_signal(signal.SIGHUP)
    assert service.ended() == 0
    assert queue.job(name).label == "completed"
    assert not service.logged("reload.started")


def test_the_help_lists_the_handled_signals() -> None:
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
    eventually(lambda: service.logged("job.dead"))
    lines = {(x["stream"], x["line"], x["job"]) for x in service.logged("job.printed")}
    assert lines == {("stdout", "one", name), ("stdout", "two", name), ("stderr", "bad", name)}
    service.process.send_signal(signal.SIGUSR1)
    eventually(lambda: service.logged("queue.described"))
    assert "s3cret" not in service.log_path.read_text()


def test_many_short_lines_of_a_job_do_not_stop_the_dispatcher(queue: Queue) -> None:
    service = queue.serve(workers=1, env={"QUEUECTL_LOG_OUTPUT": "true"})
    name = queue.add("yes '' | head -c 60000")
    queue.wait(name)
    eventually(lambda: service.logged("job.completed"))
    lines = [line["line"] for line in service.logged("job.printed")]
    omitted = sum(int(line[1:].split()[0]) for line in lines if line)
    assert len(lines) < 10_000
    assert omitted + sum(not line for line in lines) == 60_000


def test_no_line_has_a_priority_where_the_journal_does_not_listen(queue: Queue) -> None:
    service = queue.serve(workers=1, env={"JOURNAL_STREAM": "1:2"})
    assert all(line.startswith("{") for line in service.log_path.read_text().splitlines())


def test_a_terminal_gets_text_with_colours(queue: Queue) -> None:
    import pty

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
    os.kill(int(text.rpartition(b"child_pid=")[2].split()[0]), signal.SIGKILL)
    while b"child.died" not in text:
        text += os.read(ours, 4096)
    process.terminate()
    assert process.wait(20) == 0
    os.close(ours)
    assert b"\x1b[" in text
    assert b'{"ts"' not in text


def test_a_terminal_that_stops_background_output_does_not_stop_the_service(queue: Queue) -> None:
    """Each write would cause the signal TTOU, at which the service ends a worker."""
    import pty

    ours, theirs = pty.openpty()
    in_background = 'stty tostop; "$@" & wait'
    process = subprocess.Popen(
        [
            "setsid", "--ctty", "sh", "-mc", in_background, "sh",
            sys.executable, "-m", "queued", "--db", queue.path, "--workers", "2",
        ],
        stdin=theirs,
        stdout=theirs,
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while b"service.ready" not in text:
        text += os.read(ours, 4096)
    assert b"service.resized" not in text
    queue.queuectl("worker", "stop")
    assert process.wait(20) == 0
    os.close(ours)


def test_a_reload_that_cannot_be_recorded_is_made(queue: Queue) -> None:
    """`queued --reload` is not told of the end; the service goes on."""
    service = queue.serve(env={"RUNTIME_DIRECTORY": str(queue.directory / "gone")})
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.logged("reload.finished"))
    assert len(service.logged("reload.not_recorded")) == 3
    assert service.stop() == 0
