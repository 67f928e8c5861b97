"""Faults of a server that goes on: locks and lost notifications."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from queued.core.errors import DisconnectedError
from queued.ctl.change_watch import Watch
from queued.store.postgres import address, sql_loader
from tests.hosts.conftest import LEASE_S, Hosts, admin
from tests.service import ROOT, eventually, let_pass, python_env
from tests.terminal import on_terminal


@contextmanager
def connected(hosts: Hosts, statement: str) -> Iterator[None]:
    """Runs a statement on the tables, and commits at the end."""
    where = address.parse(hosts.url)
    with psycopg.connect(where.conninfo) as server:
        server.execute(sql_loader.in_schema(statement, where.schema).encode())
        yield


def test_a_lock_on_the_jobs_ends_no_run(hosts: Hosts) -> None:
    """VACUUM FULL has such a lock; the lease is renewed meanwhile, and the result waits."""
    service = hosts.add().serve(workers=1)
    hosts.traced("job", f"sleep {0.8 * LEASE_S}")
    hosts.host_of("job")
    with connected(hosts, "LOCK TABLE queued.jobs IN ACCESS EXCLUSIVE MODE"):
        let_pass(0.8 * LEASE_S)
    assert hosts.queue.wait("job").label == "completed"
    assert [run.outcome for run in hosts.queue.attempts("job")] == ["exit"]
    assert service.logged("database.refused")


def test_a_job_without_a_notification_is_found_by_the_next_renewal(hosts: Hosts) -> None:
    service = hosts.add().serve(workers=1)
    hosts.queue.add("true", id="first")
    hosts.queue.wait("first")
    eventually(lambda: service.logged("job.completed"))
    let_pass(0.5)  # the service has become idle
    with connected(hosts, "UPDATE queued.instances SET hungry = false"):
        pass
    hosts.queue.add("true", id="job")
    assert hosts.queue.wait("job", within_s=LEASE_S / 3).label == "completed"


def test_commands_that_wait_go_on_when_the_connection_was_lost(hosts: Hosts) -> None:
    hosts.add().serve(workers=1)
    go = hosts.directory / "go"
    hosts.queue.add(f"echo one; while ! [ -e {go} ]; do sleep 0.05; done; echo two", id="job")
    away = hosts.add()
    program = [sys.executable, "-m", "queued.ctl", "--db", away.queue.path]
    waiting = [
        subprocess.Popen(
            [*program, *words, "job"],
            cwd=ROOT,
            env=python_env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in (["wait"], ["logs", "--follow"])
    ]
    connected = "SELECT pid FROM pg_stat_activity WHERE application_name = 'queuectl'"
    eventually(lambda: len(admin(hosts, f"{connected} AND query LIKE '%pg_current_snapshot%'")) > 1)
    away.link.reset()
    lost = [process.stderr.readline() for process in waiting if process.stderr]
    assert {*lost} == {"queuectl: the connection to the server is lost; trying again\n"}
    go.touch()
    assert [process.communicate(timeout=60) for process in waiting] == [
        ("job completed\n", ""),
        ("one\ntwo\n", ""),
    ]
    assert [process.returncode for process in waiting] == [0, 0]


def test_a_watched_list_goes_on_when_the_connection_was_lost(hosts: Hosts) -> None:
    away = hosts.add()
    away.queue.add("true", id="first")
    line = [sys.executable, "-m", "queued.ctl", "--db", away.queue.path, "list", "--watch"]
    with on_terminal(line, {**python_env(), "PYTHONPATH": str(ROOT)}) as terminal:
        terminal.sees("first")
        away.link.reset()
        terminal.sees("queuectl: the connection to the server is lost; trying again")
        hosts.queue.add("true", id="second")
        terminal.sees("second")


def test_an_outage_is_waited_for_until_the_deadline(hosts: Hosts) -> None:
    host = hosts.add()
    with closing(host.queue.store), closing(Watch(host.queue.store)) as watch:
        host.link.close()
        with watch.outages():
            watch.wait()
        with pytest.raises(DisconnectedError), watch.outages(deadline_s=0):
            watch.wait()
