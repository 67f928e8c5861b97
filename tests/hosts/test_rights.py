"""A service with the rights of a role: if they change, and where its password shows."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from queued.service.linux import procfs
from tests import postgres_server
from tests.hosts.conftest import Hosts, admin
from tests.service import ROOT, WITHOUT_RICH, Queue, cleaned_up, eventually, python_env

SECRET = "tr0ub4dor"  # noqa: S105 - of a server that only tests use


def set_password(hosts: Hosts, password: str) -> None:
    """Lets the service log in with a password only."""
    with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        admin(hosts, "CREATE role with_password")
    admin(hosts, f"ALTER role ROLE LOGIN PASSWORD '{password}'; GRANT with_password TO ROLE")


def test_a_service_goes_on_when_its_rights_or_its_password_come_back(
    hosts: Hosts, tmp_path: Path
) -> None:
    passfile = tmp_path / "passfile"

    def write(password: str) -> None:
        passfile.touch(mode=0o600)
        passfile.write_text(f"*:*:*:*:{password}")

    set_password(hosts, SECRET)
    write(SECRET)
    url = f"{postgres_server.as_role(hosts.url, 'service')}&passfile={passfile}"
    with cleaned_up(Queue(tmp_path, url)) as queue:
        service = queue.spawn(env={"STATE_DIRECTORY": str(tmp_path)}).ready()
        assert queue.wait(hosts.queue.add("true")).label == "completed"

        admin(hosts, "REVOKE UPDATE (state) ON SCHEMA.jobs FROM ROLE")
        job = hosts.queue.add("true")
        refused = eventually(lambda: service.logged("database.refused"))[0]
        assert "permission denied for table jobs; it needs the role" in refused["error"]
        admin(hosts, "GRANT UPDATE (state) ON SCHEMA.jobs TO ROLE")
        assert hosts.queue.wait(job).label == "completed"
        assert service.logged("database.recovered")

        set_password(hosts, "new")
        job = hosts.queue.add("true")
        assert hosts.queue.wait(job).label == "completed", "the open connection goes on"
        admin(
            hosts, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ROLE'"
        )
        eventually(lambda: "password authentication failed" in service.log_path.read_text())
        job = hosts.queue.add("true")
        write("new")
        assert hosts.queue.wait(job).label == "completed"
        assert service.process.poll() is None
        assert SECRET not in service.log_path.read_text()


@pytest.mark.parametrize("place", ["PGPASSWORD", "QUEUECTL_DB", "conf"])
def test_a_password_is_shown_nowhere(hosts: Hosts, tmp_path: Path, place: str) -> None:
    set_password(hosts, SECRET)
    plain = postgres_server.as_role(hosts.url, "service")
    secret = plain.replace("@", f":{SECRET}@", 1)
    conf = tmp_path / "queuectl.conf"
    conf.touch(mode=0o600)
    conf.write_text(f'db = "{secret if place == "conf" else plain}"\n')
    env = {**python_env(), **WITHOUT_RICH, "STATE_DIRECTORY": str(tmp_path)}
    env["QUEUECTL_CONF"] = str(conf)
    env |= {"PGPASSWORD": SECRET} if place == "PGPASSWORD" else {}
    env |= {"QUEUECTL_DB": secret} if place == "QUEUECTL_DB" else {}
    job = hosts.queue.add("env; cat /proc/$PPID/cmdline")
    told = b""
    log = tmp_path / "log"
    commands = ("status --json", "config list", "worker list", "config set lease 20", f"show {job}")
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "queued", "--workers", "1", "--log-level", "debug"],
            cwd=ROOT,
            env=env,
            stdout=out,
            stderr=out,
        ) as service,
    ):
        try:
            assert hosts.queue.wait(job).label == "completed"
            for pid in [service.pid, *(child.pid for child in procfs.descendants(service.pid))]:
                told += Path(f"/proc/{pid}/cmdline").read_bytes()
            for command in commands:
                words = [sys.executable, "-m", "queued.ctl", *command.split()]
                answer = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, check=False)
                told += answer.stdout + answer.stderr
        finally:
            service.terminate()
    told += hosts.queue.output(job) + log.read_bytes()
    assert b"QUEUED_JOB" in told
    assert b"it needs the role" in told
    assert SECRET.encode() not in told
