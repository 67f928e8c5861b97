"""A real systemd, booted in namespaces of its own, with queued installed as `make install` does.

`missing_tool` names what a machine lacks for it. It is the system of this machine, or that in the
directory TESTBED_ROOT.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.service import eventually

ROOT = Path(__file__).resolve().parents[2]
TESTBED = ROOT / "tests" / "packaging" / "testbed.sh"
SYSTEM_PYTHON = "/usr/bin/python3"  # users other than root can run it, too
DATABASE = "/var/lib/queued/queue.db"
DROP_IN = "/etc/systemd/system/queued.service.d/test.conf"

# A fresh installation with three users: alice and bob are in the group, carol is not.
PREPARE = """
rm -rf /var/lib/queued /etc/queuectl.conf
/opt/source/packaging/install-files.sh /usr/local
systemd-sysusers
useradd --create-home --groups queued alice
useradd --create-home --groups queued bob
useradd --create-home carol
"""

# Kills the services: a stop would wait for the jobs that a test has left running.
RESET = f"""
systemctl kill --signal=KILL 'queued*.service'
systemctl stop 'queued*.service'
rm -rf /var/lib/queued* {DROP_IN} /etc/queuectl.conf
install -m 644 /opt/source/etc/queuectl.conf /etc/queuectl.conf
systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/queued.conf
systemctl daemon-reload
systemctl reset-failed
journalctl --rotate
journalctl --vacuum-time=1us --quiet
"""


def missing_tool() -> str:
    """Returns what this machine lacks to boot a systemd; an empty text if nothing."""
    if os.geteuid() != 0:
        return "root"
    for tool in ("/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/nsenter", SYSTEM_PYTHON):
        if not os.path.exists(tool):
            return tool
    version = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    found = subprocess.run([SYSTEM_PYTHON, "-c", version], check=False, capture_output=True)
    return "" if found.returncode == 0 else f"{SYSTEM_PYTHON} of version 3.11 with venv"


def make_venv(directory: Path, final: str, *more: str) -> None:
    """Makes a venv of the system's Python with the project, as the packages do."""
    subprocess.run(
        [ROOT / "packaging" / "make-venv.sh", directory, final, *more],
        check=True,
        env={**os.environ, "PYTHON": SYSTEM_PYTHON, "INSTALLER": sys.executable},
    )


class SystemdTestbed:
    """A booted systemd in namespaces of its own."""

    def __init__(self, directory: Path, binds: dict[Path, str], prepare: str) -> None:
        passed = {name: os.environ[name] for name in ("PATH", "TESTBED_ROOT") if name in os.environ}
        self._environment = {**passed, "TESTBED_DIR": str(directory)}
        subprocess.run(
            [TESTBED, "up", *(f"{source}:{place}:ro" for source, place in binds.items())],
            check=True,
            env={**self._environment, "TESTBED_PREP": prepare, "TESTBED_OWNER": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """Powers it off and removes its files."""
        subprocess.run([TESTBED, "down"], check=True, env=self._environment)

    def run(
        self, *words: str, user: str = "", check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program in it to its end, as root or as `user`."""
        prefix = ("runuser", "-u", user, "--") if user else ()
        done = subprocess.run(
            [TESTBED, "exec", *prefix, *words],
            check=False,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 or not check, f"{words}: {done.stdout}{done.stderr}"
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts a program in it, without waiting."""
        return subprocess.Popen(
            [TESTBED, "exec", *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def text(self, *words: str, user: str = "") -> str:
        """Runs a program; returns its output."""
        return self.run(*words, user=user).stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Writes a file in it."""
        self.run("install", "-D", "-m", "644", "/dev/stdin", path, stdin=text)


class Unit:
    """A unit of queued in a testbed, and its database."""

    def __init__(
        self, testbed: SystemdTestbed, name: str = "queued.service", database: str = DATABASE
    ) -> None:
        self.testbed = testbed
        self.name = name
        self.database = database

    def systemctl(self, verb: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `systemctl VERB` on the unit."""
        return self.testbed.run("systemctl", verb, self.name, check=check)

    def show(self, *properties: str) -> list[str]:
        """Returns properties of the unit."""
        words = [f"--property={name}" for name in properties]
        text = self.testbed.text("systemctl", "show", self.name, *words)
        values = dict(line.split("=", 1) for line in text.splitlines())
        return [values[name] for name in properties]

    def pid(self) -> int:
        """Returns the pid of the supervisor, as seen in the testbed."""
        return int(self.show("MainPID")[0])

    def status(self) -> str:
        """Returns the status line of `systemctl status`."""
        return self.show("StatusText")[0]

    def with_status(self, text: str) -> None:
        """Waits until the status line is this."""
        eventually(lambda: self.status() == text, f"status {text}: it is {self.status()}")

    def queuectl(self, *words: str, user: str = "", stdin: str = "") -> str:
        """Runs queuectl on the database of the unit; returns its output."""
        command = ("queuectl", *words, "--db", self.database)
        return self.testbed.run(*command, user=user, stdin=stdin).stdout.strip()

    def add(self, command: str, user: str = "", **fields: object) -> str:
        """Enqueues a job; returns its id."""
        return self.queuectl("enqueue", json.dumps({"command": command, **fields}), user=user)

    def add_all(self, commands: list[str]) -> list[str]:
        """Enqueues many jobs in one transaction; returns their ids."""
        lines = "\n".join(json.dumps({"command": command}) for command in commands)
        return self.queuectl("enqueue", "-", stdin=lines).split()

    def job(self, name: str) -> dict[str, Any]:
        """Returns the record of a job."""
        record: dict[str, Any] = json.loads(self.queuectl("show", "--json", name))
        return record

    def wait(self, name: str, *states: str) -> dict[str, Any]:
        """Waits until the job is in one of these states."""
        wanted = states or ("completed", "dead")
        eventually(lambda: self.job(name)["state"] in wanted, f"{name} {wanted}: {self.job(name)}")
        return self.job(name)

    def log(self, event: str = "") -> list[dict[str, Any]]:
        """Returns the journal's lines of an event, with the fields of the journal."""
        text = self.testbed.text("journalctl", "--unit", self.name, "--output=json", "--no-pager")
        entries = [json.loads(line) for line in text.splitlines()]
        lines = [e for e in entries if str(e["MESSAGE"]).startswith("{")]
        records = [{**json.loads(e["MESSAGE"]), "journal": e} for e in lines]
        return [record for record in records if event in ("", record["event"])]

    def child(self, slot: int) -> int:
        """Returns the pid of the child in a slot now: 0 is the dispatcher."""
        return int([r for r in self.log("child.started") if r["slot"] == slot][-1]["child_pid"])

    def signal(self, name: str, pid: int = 0) -> None:
        """Signals the supervisor, or another process of the service."""
        self.testbed.run("kill", f"-{name}", str(pid or self.pid()))

    def drop_in(self, *lines: str) -> None:
        """Changes directives of the service."""
        self.testbed.write(DROP_IN, "[Service]\n" + "\n".join(lines) + "\n")
        self.testbed.run("systemctl", "daemon-reload")

    def reset(self) -> None:
        """Restores the state after an installation: no jobs, no drop-ins, the shipped conf file."""
        self.testbed.run("sh", "-ec", RESET)


def tool(name: str) -> str:
    """Returns the path of a program beside our Python; an empty text if there is none."""
    return shutil.which(name, path=os.path.dirname(sys.executable)) or ""
