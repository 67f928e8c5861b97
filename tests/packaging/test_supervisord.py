"""The service under a real supervisord, with the configuration as it is shipped."""

import configparser
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.packaging.systemd_testbed import ROOT, tool
from tests.service import Queue, alive, eventually

SHIPPED = ROOT / "packaging" / "supervisor" / "queued.conf"

# The parts that a test must change: its own paths, and no other user.
OURS = """
[supervisord]
logfile = {directory}/supervisord.log
pidfile = {directory}/supervisord.pid
childlogdir = {directory}
nodaemon = true
user = {user}

[unix_http_server]
file = {directory}/socket

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{directory}/socket
"""


def shipped() -> dict[str, str]:
    """The program's section of the shipped file."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(SHIPPED)
    return dict(parser["program:queued"])


class Supervisord:
    """A running supervisord and the queued in it."""

    def __init__(self, queue: Queue, **changes: str) -> None:
        self.directory = queue.directory
        self.queue = queue
        self._program = {
            **shipped(),
            "command": f"{sys.executable} -m queued --log-format json --workers 2",
            "user": str(os.geteuid()),
            "environment": f'QUEUECTL_DB="{queue.path}"',
            "directory": str(ROOT),
            "stdout_logfile": f"{self.directory}/queued.log",
            "startsecs": "0",  # `in_state` waits until the service is ready
            **changes,
        }
        self._conf = self.directory / "supervisord.conf"
        self._seen: set[int] = set()
        self.change()
        self.start()

    def change(self, **changes: str) -> None:
        """Other directives, from the next start on."""
        self._program |= changes
        section = "".join(f"{key} = {value}\n" for key, value in self._program.items())
        ours = OURS.format(directory=self.directory, user=os.geteuid())
        self._conf.write_text(f"{ours}\n[program:queued]\n{section}")

    def start(self, state: str = "RUNNING") -> None:
        """Starts it, with its program."""
        self.process = subprocess.Popen(
            [tool("supervisord"), "--configuration", self._conf],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.in_state(state)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs supervisorctl."""
        return subprocess.run(
            [tool("supervisorctl"), "-c", self._conf, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def in_state(self, state: str) -> str:
        """Waits until `supervisorctl status` says this of the program."""
        eventually(lambda: f" {state} " in self.ctl("status", "queued").stdout, state)
        if state == "RUNNING":
            eventually(lambda: self.pid in [line["pid"] for line in self.log("service.ready")])
            self._seen.add(self.pid)
        return self.ctl("status", "queued").stdout

    @property
    def pid(self) -> int:
        """The supervisor's of queued."""
        return int(self.ctl("pid", "queued").stdout)

    def log(self, event: str) -> list[dict[str, Any]]:
        """Lines of queued in supervisord's file."""
        path = self.directory / "queued.log"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def close(self) -> None:
        """Kills supervisord and the services that the test has left."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self._seen:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def supervisord(request: pytest.FixtureRequest, queue: Queue) -> Iterator[Supervisord]:
    """It runs; the parameter has directives that differ from the shipped ones."""
    if not tool("supervisord"):
        pytest.skip("needs supervisor")
    made = Supervisord(queue, **getattr(request, "param", {}))
    try:
        yield made
    finally:
        made.close()


def test_a_stop_drains_and_restart_serves_again(supervisord: Supervisord) -> None:
    queue = supervisord.queue
    name = queue.add("sleep 1")
    queue.wait(name, "processing")
    first = supervisord.pid
    assert "queued: stopped" in supervisord.ctl("stop", "queued").stdout
    assert queue.job(name).label == "completed"
    assert "STOPPED" in supervisord.in_state("STOPPED")
    assert queue.store.instances() == []
    supervisord.ctl("start", "queued")
    supervisord.ctl("restart", "queued")
    supervisord.in_state("RUNNING")
    assert supervisord.pid != first
    assert queue.wait(queue.add("true")).label == "completed"


def test_hup_reloads(supervisord: Supervisord) -> None:
    pid = supervisord.pid
    supervisord.ctl("signal", "HUP", "queued")
    eventually(lambda: supervisord.log("reload.finished"))
    assert supervisord.pid == pid
    assert supervisord.queue.wait(supervisord.queue.add("true")).label == "completed"


def test_a_crash_is_unexpected_and_worker_stop_is_not(supervisord: Supervisord) -> None:
    queue = supervisord.queue
    pid = supervisord.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: supervisord.pid not in (0, pid))
    supervisord.in_state("RUNNING")
    assert queue.queuectl("worker", "stop").returncode == 0
    supervisord.in_state("EXITED")


def test_nothing_is_orphaned_when_supervisord_is_killed(supervisord: Supervisord) -> None:
    queue = supervisord.queue
    name = queue.add("echo $$; sleep 1; echo end")
    queue.wait(name, "processing")
    pid = supervisord.pid
    supervisord.process.kill()
    supervisord.process.wait()
    eventually(lambda: not alive(pid), "queued drains and ends")
    assert queue.job(name).label == "completed"
    assert queue.store.instances() == []
    supervisord.start()
    assert queue.wait(queue.add("true")).label == "completed"


@pytest.mark.parametrize("supervisord", [{"stopwaitsecs": "1"}], indirect=True)
def test_nothing_of_it_lives_when_it_had_to_be_killed(supervisord: Supervisord) -> None:
    queue = supervisord.queue
    file = queue.file("pid")
    name = queue.add(f"echo $$ > {file}; sleep 60")
    command = int(eventually(lambda: file.exists() and file.read_text().strip()))
    supervisord.ctl("stop", "queued")  # longer than it waits: it kills
    eventually(lambda: not alive(command), "the job ends with its worker")
    eventually(lambda: queue.job(name).label == "pending")
    assert queue.job(name).attempts == 0


ROTATED = {"stdout_logfile_maxbytes": "16KB", "stdout_logfile_backups": "20"}


@pytest.mark.parametrize("supervisord", [ROTATED], indirect=True)
def test_rotation_loses_no_line(supervisord: Supervisord) -> None:
    queue = supervisord.queue
    names = queue.add_all(["true"] * 300)
    queue.wait_all(300)
    supervisord.ctl("stop", "queued")
    files = sorted(queue.directory.glob("queued.log*"))
    assert len(files) > 3
    text = "".join(file.read_text() for file in reversed(files))
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["job"] for line in lines if line["event"] == "job.completed"} == set(names)


def test_a_bad_conf_file_is_fatal_and_named_in_the_log(supervisord: Supervisord) -> None:
    supervisord.close()
    supervisord.change(
        environment=f'QUEUECTL_DB="{supervisord.queue.path}",QUEUECTL_BACKOFF_BASE="0"',
        startretries="0",
        startsecs="15",
    )
    supervisord.start(state="FATAL")
    text = (supervisord.directory / "queued.log").read_text()
    assert "queued: QUEUECTL_BACKOFF_BASE: backoff_base takes a number from 1" in text


def test_the_shipped_file_says_what_was_agreed() -> None:
    assert set(shipped()["exitcodes"].split(",")) == {"0", "2", "77", "78"}
    settings = {"stopsignal": "TERM", "autorestart": "unexpected", "killasgroup": "false"}
    assert settings.items() <= shipped().items()
    assert int(shipped()["stopwaitsecs"]) > 40  # above shutdown_grace and kill_grace


def test_every_directive_is_explained() -> None:
    lines = SHIPPED.read_text().splitlines()
    bare = [b for a, b in pairwise(lines) if "=" in b and b[0] != ";" and not a]
    assert bare == []
