"""Faults of a server that goes on: locks and lost notifications."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from queued.store.postgres import address, sql_loader
from tests.hosts.conftest import LEASE_S, Hosts
from tests.service import eventually, let_pass


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
