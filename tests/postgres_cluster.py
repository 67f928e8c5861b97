"""PostgreSQL servers of a test's own: a primary and standbys, which the test stops and promotes.

Each server has a directory for its socket, and no other address.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import postgres_server
from tests.service import eventually

_OPTIONS = (
    "-c listen_addresses= -c fsync=off -c shared_buffers=16MB -c hot_standby=on "
    "-c wal_receiver_status_interval=1 -c wal_retrieve_retry_interval=100 "
    "-c unix_socket_directories="
)


class Server:
    """A server that was made, and runs after `start`."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.cluster = cluster
        self.data, self.socket = cluster.home / f"{name}.data", cluster.home / f"{name}.socket"
        for directory in (self.data, self.socket):
            directory.mkdir(mode=0o700 if directory is self.data else 0o755)
            if postgres_server.USER:
                shutil.chown(directory, postgres_server.USER["user"], postgres_server.USER["group"])

    def run(self, program: str, *arguments: str) -> None:
        """Runs a program of PostgreSQL on the data of this server, to its end."""
        command = [f"{self.cluster.programs}/{program}", "-D", str(self.data), *arguments]
        subprocess.run(
            command,
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            **postgres_server.USER,
        )

    def start(self) -> "Server":
        """Starts the server and waits until it takes connections."""
        log = f"{self.data}/log"
        self.run("pg_ctl", "-w", "-l", log, "-o", f"{_OPTIONS}{self.socket}", "start")
        return self

    def stop(self) -> None:
        """Stops the server at once, as a power cut does."""
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")

    def promote(self) -> None:
        """Makes this standby a primary, with a new timeline."""
        self.run("pg_ctl", "-w", "promote")

    def follow(self, primary: "Server") -> None:
        """Makes this server, which is stopped, a standby of another one after its next start."""
        (self.data / "standby.signal").touch()
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = 'host={primary.socket} user=tester'\n")
            settings.write("recovery_target_timeline = 'latest'\n")

    def execute(self, statement: str) -> list[Any]:
        """Runs a statement as the administrator; returns its rows."""
        url = f"postgresql://tester@/postgres?host={self.socket}"
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def configure(self, **settings: str) -> None:
        """Changes settings of the running server."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def standby(self, name: str, *, synchronous: bool = False) -> "Server":
        """Adds a standby of this server, which has all of its commits; it can be promoted."""
        made = Server(self.cluster, name)
        source = ("-d", f"host={self.socket} user=tester")
        made.run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-N", *source)
        made.start()
        eventually(
            lambda: self.execute("SELECT state FROM pg_stat_replication") == [("streaming",)]
        )
        if synchronous:
            self.configure(synchronous_standby_names="*")
            synchronized = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            eventually(lambda: len(self.execute(synchronized)) == 1)
        return made

    def wait_for_standbys(self) -> None:
        """Waits until the standbys of this server show all that it has committed."""
        shown = "SELECT bool_and(replay_lsn >= pg_current_wal_flush_lsn()) FROM pg_stat_replication"
        eventually(lambda: self.execute(shown) == [(True,)])

    def cut_off(self) -> None:
        """Lets this standby receive nothing more."""
        self.configure(primary_conninfo="")
        eventually(lambda: self.execute("SELECT 1 FROM pg_stat_wal_receiver") == [])


class Cluster:
    """Servers with one history in common."""

    def __init__(self, home: Path, programs: str) -> None:
        self.home, self.programs = home, programs
        self.primary = Server(self, "a")
        self.primary.run("initdb", "-N", "-A", "trust", "-U", "tester", "-E", "UTF8", "--no-locale")
        self.primary.start()

    def url(self, *servers: Server) -> str:
        """Returns the URL of the queue, with these servers in this order."""
        return "postgresql://tester@/postgres?host=" + ",".join(
            str(each.socket) for each in servers
        )


@contextmanager
def cluster(home: Path) -> Iterator[Cluster]:
    """Yields a server below a directory; skips the test if no server is installed."""
    programs = next(iter(postgres_server.versions().values()), None)
    if programs is None:
        pytest.skip("PostgreSQL is not installed: the tests of failovers did not run")
    os.chmod(home, 0o755)
    try:
        yield Cluster(home, programs)
    finally:
        for data in home.glob("*.data"):
            with suppress(subprocess.CalledProcessError):
                command = [f"{programs}/pg_ctl", "-D", str(data), "-m", "immediate", "stop"]
                subprocess.run(command, check=True, cwd="/", **postgres_server.USER)
        shutil.rmtree(home)
