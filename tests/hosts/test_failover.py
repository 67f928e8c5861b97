"""Failovers to a standby: no job runs twice at the same time, and lost jobs are logged."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from queued.core.errors import Exit, StorageError
from queued.store.postgres import address, upgrade
from queued.store.postgres.dispatcher_store import PostgresLedger
from tests.hosts.conftest import LEASE_S, Hosts
from tests.hosts.host import Host
from tests.hosts.link import Link
from tests.postgres_cluster import Cluster, Server, cluster
from tests.service import Queue, Service, cleaned_up, eventually, let_pass, python_env

QUARANTINE_S = LEASE_S + 2


class ClusterHost(Host):
    """A host that reaches the servers directly, or those of `links` through these links."""

    def __init__(self, hosts: "ClusterHosts", directory: Path, links: dict[Server, Link]) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        url = hosts.url
        for server, link in links.items():
            url = url.replace(str(server.socket), str(link.directory))
        self.queue = Queue(directory, url)


class ClusterHosts(Hosts):
    """The hosts of a queue on a primary and a standby."""

    def __init__(self, directory: Path, made: Cluster, *, synchronous: bool) -> None:
        self.primary = made.primary
        self.standby = made.primary.standby("b", synchronous=synchronous)
        url = made.url(self.primary, self.standby)
        upgrade.migrate(url)
        super().__init__(directory, url)
        self.queue.configure("failover", "lossless" if synchronous else "lossy")
        self._stack = ExitStack()

    def join(self, *, workers: int, links: dict[Server, Link] | None = None) -> Service:
        """Adds a host and starts its service."""
        host = ClusterHost(self, self.directory / f"host{len(self.all)}", links or {})
        self.all.append(host)
        return host.serve(workers=workers)

    def link(self, name: str, server: Server) -> Link:
        """Makes a link to a server, for `join`."""
        made = Link(self.directory / name, server.socket)
        self._stack.callback(made.close)
        return made

    def fail_over(self) -> None:
        """Stops the primary at once and promotes the standby."""
        self.primary.stop()
        self.standby.promote()
        self.queue = self.reached(self.standby)

    def reached(self, server: Server) -> Queue:
        """Returns the queue as a new connection to that server shows it."""
        made = Queue(self.directory, f"postgresql://tester@/postgres?host={server.socket}")
        self._stack.callback(made.close)
        return made

    def until(self, name: str) -> str:
        """Returns a command that ends when the file of this name is made by `allow`."""
        return f"while ! [ -e {self.directory / name} ]; do sleep 0.05; done"

    def allow(self, name: str) -> None:
        """Ends the commands of `until`."""
        (self.directory / name).touch()

    def close(self) -> None:
        """Ends all services, then the links."""
        for host in self.all:
            with cleaned_up(host.queue):
                pass
        self._stack.close()


@pytest.fixture
def synchronous(request: pytest.FixtureRequest) -> bool:
    """Whether the standby is a synchronous one, and failovers are lossless."""
    return True


@pytest.fixture
def hosts(tmp_path: Path, *, synchronous: bool) -> Iterator[ClusterHosts]:
    tmp_path.chmod(0o700)
    with cluster(Path(tempfile.mkdtemp(prefix="queued-"))) as servers:
        made = ClusterHosts(tmp_path, servers, synchronous=synchronous)
        with cleaned_up(made.queue):
            try:
                yield made
            finally:
                made.close()


def test_a_failover_to_a_synchronous_standby_loses_nothing(hosts: ClusterHosts) -> None:
    """The old primary comes back as a standby, which the services leave for the new primary."""
    services = [hosts.join(workers=2) for _ in range(2)]
    hosts.traced("long", hosts.until("go"))
    hosts.host_of("long")
    count = hosts.directory / "count"
    names = [hosts.queue.add(f"echo {number} >> {count}") for number in range(30)]
    hosts.fail_over()
    hosts.primary.follow(hosts.standby)
    hosts.primary.start()
    names.append(hosts.queue.add(f"echo 30 >> {count}"))
    hosts.allow("go")
    for name in [*names, "long"]:
        assert hosts.queue.wait(name, within_s=20).label == "completed"
    assert list(hosts.runs("long")) == [1]
    assert set(map(int, count.read_text().split())) == {*range(31)}
    for service in services:
        assert service.logged("database.failed_over")[0]["quarantine_s"] == 0
        assert not service.logged("job.missing")
        assert not service.logged("job.claim_restored")


@pytest.mark.parametrize("synchronous", [False])
def test_after_a_failover_that_lost_commits_no_job_runs_twice_at_once(hosts: ClusterHosts) -> None:
    """The standby lacks claims, an acknowledged job, a result, and two of the three instances."""
    first = hosts.join(workers=1)
    hosts.traced("early", "[ $QUEUED_ATTEMPT -gt 1 ] || " + hosts.until("go"))
    hosts.host_of("early")
    hosts.traced("stray", f"[ -e {hosts.directory / 'go'} ] || sleep 600")
    hosts.traced("kept", hosts.until("end"))
    hosts.standby.cut_off()
    no_way = hosts.link("no_way", hosts.standby)
    no_way.cut()
    hosts.join(workers=1, links={hosts.standby: no_way})
    hosts.host_of("stray")
    third = hosts.join(workers=2)
    hosts.host_of("kept")
    hosts.traced("lost", "sleep 600")
    hosts.host_of("lost")
    hosts.allow("go")
    assert hosts.queue.wait("early").label == "completed"
    hosts.fail_over()

    for service in (first, third):
        found = eventually(lambda service=service: service.logged("database.failed_over"))  # type: ignore[misc]
        assert QUARANTINE_S - 1 <= found[0]["quarantine_s"] <= QUARANTINE_S
    missing = eventually(lambda: third.logged("job.missing"))  # the last of these lines
    assert [line["job"] for line in missing] == ["lost"]
    assert [line["job"] for line in third.logged("job.claim_restored")] == ["kept"]
    late = hosts.join(workers=1)
    assert late.logged("database.failed_over"), "a service that starts waits, too"
    hosts.allow("end")
    assert hosts.queue.wait("kept").label == "completed"
    assert not late.logged("job.claimed"), "all others wait until the leases are over"
    for name in ("early", "stray"):
        assert hosts.queue.wait(name, within_s=3 * LEASE_S).label == "completed"
    assert [run.outcome for run in hosts.queue.attempts("early")] == ["interrupted", "exit"]
    assert list(hosts.runs("kept")) == [1]
    hosts.runs("stray")  # both have the number 1, because the first one was forgotten
    marks = [float(line.split()[1]) for line in hosts.trace("stray").read_text().splitlines()]
    assert max(after - before for before, after in pairwise(marks)) > LEASE_S / 6
    assert first.logged("database.trusted") or third.logged("database.trusted")


@pytest.mark.parametrize("synchronous", [False])
def test_a_new_dispatcher_records_lost_claims_of_live_runs_again(hosts: ClusterHosts) -> None:
    """The dispatcher that made them has died; a command goes on, and another one has ended."""
    names = ("goes_on", "ended")
    for name in names:
        hosts.traced(name, f"echo done; {hosts.until(name)}")
    hosts.primary.wait_for_standbys()
    hosts.standby.cut_off()
    service = hosts.join(workers=2)
    for name in names:
        hosts.host_of(name)
    hosts.primary.stop()
    hosts.allow("ended")
    service.kill(service.child(0))
    hosts.standby.promote()
    hosts.queue = hosts.reached(hosts.standby)
    assert hosts.queue.wait("ended", within_s=QUARANTINE_S).label == "completed"
    hosts.allow("goes_on")
    for name in names:
        assert hosts.queue.wait(name).label == "completed"
        assert list(hosts.runs(name)) == [1]
        assert [run.outcome for run in hosts.queue.attempts(name)] == ["exit"]
        assert hosts.queue.output(name) == b"done\n"
    assert {line["job"] for line in service.logged("job.claim_restored")} == {*names}


def test_a_service_that_met_a_standby_still_refuses_the_old_primary(hosts: ClusterHosts) -> None:
    """An address that is moved among the servers may lead to any of them."""
    old, standby = (
        hosts.url.partition("?")[0] + f"?host={server.socket}"
        for server in (hosts.primary, hosts.standby)
    )
    with closing(PostgresLedger(old)) as ledger:
        database = ledger._database
        server = database._server.history.partition("/")[0]
        database._server = database._server._replace(history=f"{server}/0000000F")
        for url, told in ((standby, "only reads"), (old, "primary that was replaced")):
            database.close()
            database.address = address.parse(url)
            with pytest.raises(StorageError, match=told), ledger.transaction():
                ledger.counts()


def test_a_commit_that_no_standby_has_confirmed_is_not_acknowledged(hosts: ClusterHosts) -> None:
    hosts.queue.configure("lease", "60")
    service = hosts.join(workers=1)
    hosts.traced("job", hosts.until("go"))
    hosts.host_of("job")
    hosts.standby.stop()
    command = [sys.executable, "-m", "queued.ctl", "--db", hosts.url, "enqueue", "true"]
    for how in ("cancel", "terminate"):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=python_env()
        ) as queuectl:
            eventually(lambda how=how: _end_waits(hosts.primary, how, "queuectl"))  # type: ignore[misc]
            printed, told = queuectl.communicate(timeout=20)
        assert (queuectl.returncode, printed) == (Exit.IO, "")
        newest = hosts.queue.jobs()[-1].id
        assert f"the job {newest} may have been added" in told
    hosts.allow("go")
    for _ in range(3):
        eventually(lambda: _end_waits(hosts.primary, "cancel", "queued"))
        let_pass(0.3)
    assert "not confirmed" in service.logged("database.refused")[0]["error"]
    assert not service.logged("job.completed")
    hosts.standby.start()
    assert eventually(lambda: service.logged("job.completed", job="job"))
    assert [run.outcome for run in hosts.queue.attempts("job")] == ["exit"]
    assert list(hosts.runs("job")) == [1]


_CANCEL = """SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE wait_event = 'SyncRep' AND application_name = 'queued'"""


def _end_waits(server: Server, how: str, application: str) -> bool:
    """Cancels or terminates the statements that wait for the standby; returns whether one did."""
    statement = _CANCEL.replace("cancel", how).replace("queued", application)
    return bool(server.execute(statement))


def test_the_hosts_of_an_isolated_primary_end_their_runs(hosts: ClusterHosts) -> None:
    """Two primaries serve at the same time, but the old one confirms no renewal."""
    away = hosts.link("away", hosts.standby)
    away.cut()
    hosts.join(workers=1, links={hosts.standby: away})
    hosts.traced("job", "trap '' TERM; [ $QUEUED_ATTEMPT -gt 1 ] || sleep 600")
    hosts.host_of("job")
    to_old = hosts.link("to_old", hosts.primary)
    other = hosts.join(workers=1, links={hosts.primary: to_old})
    hosts.standby.promote()
    to_old.close()
    new = hosts.reached(hosts.standby)
    new.add("true", id="next")
    assert new.wait("next", within_s=10).label == "completed"
    assert new.wait("job", within_s=3 * LEASE_S).label == "completed"
    assert [run.outcome for run in new.attempts("job")] == ["lost", "exit"]
    runs = hosts.runs("job")
    assert runs[2][0] - runs[1][1] > LEASE_S / 6
    assert other.logged("instance.taken_over")
