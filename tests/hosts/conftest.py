"""Fixtures of the tests with several hosts and a real PostgreSQL server.

All hosts share the clock of this machine, so that the times that their commands write can be
compared.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from queued.core import times
from queued.store.postgres import address
from tests import postgres_server
from tests.hosts.host import Host
from tests.service import Queue, cleaned_up, eventually

LEASE_S = 15  # the shortest


class Hosts:
    """A queue on a PostgreSQL server, and the hosts that serve it."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.queue = Queue(directory, url)
        self.queue.store.config_set("lease", str(LEASE_S), now_ms=times.now_ms())
        self.all: list[Host] = []

    def add(self) -> Host:
        """Adds a host."""
        host = Host(self.directory / f"host{len(self.all)}", self.url)
        self.all.append(host)
        return host

    def trace(self, name: str) -> Path:
        """Returns the file to which a job of `traced` writes."""
        return self.directory / f"trace.{name}"

    def traced(self, name: str, script: str, **fields: object) -> str:
        """Enqueues a job that proves when it ran, and that it never ran twice at the same time.

        It locks a file, and writes the time to its trace twenty times a second while `script` runs.
        """
        trace, lock = self.trace(name), self.directory / f"lock.{name}"
        command = (
            f"exec 9>>{lock}; flock -n 9 || echo overlap >> {trace}; "
            f"mark() {{ echo $QUEUED_ATTEMPT $(cut -d' ' -f1 /proc/uptime) >> {trace}; }}; mark; "
            f"(while sleep 0.05; do mark; done) & {script}"
        )
        return self.queue.add(command, id=name, **fields)

    def runs(self, name: str) -> dict[int, tuple[float, float]]:
        """Returns the first and the last time of each run of a job, in seconds since boot."""
        lines = [line.split() for line in self.trace(name).read_text().splitlines()]
        assert ["overlap"] not in lines
        seen: dict[int, list[float]] = {}
        for attempt, at_s in (line for line in lines if len(line) == 2):
            seen.setdefault(int(attempt), []).append(float(at_s))
        return {attempt: (min(ats), max(ats)) for attempt, ats in seen.items()}

    def host_of(self, name: str) -> Host:
        """Waits until the job runs; returns its host."""
        eventually(lambda: self.trace(name).exists(), f"{name} runs", within_s=60)
        instance = self.queue.attempts(name)[-1].instance
        return next(
            host
            for host in self.all
            if any(service.instance == instance for service in host.queue.services)
        )


def admin(hosts: Hosts, text: str) -> list[Any]:
    """Runs statements as the administrator; ROLE and SCHEMA stand for the queue's."""
    where = address.parse(hosts.url)
    text = text.replace("ROLE", f"{where.schema}_service").replace("SCHEMA", where.schema)
    with psycopg.connect(where.conninfo, autocommit=True) as server:
        cursor = server.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """A queue on the server of this run, in a schema of its own."""
    os.chmod(tmp_path, 0o700)
    with ended(Hosts(tmp_path, postgres_server.new_queue())) as made:
        yield made


@contextmanager
def ended(made: Hosts) -> Iterator[Hosts]:
    """Ends all services, then the links."""
    with cleaned_up(made.queue):
        try:
            yield made
        finally:
            for host in made.all:
                host.link.heal()
                with cleaned_up(host.queue):
                    pass
                host.link.close()
