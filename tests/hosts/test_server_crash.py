"""A crash of the server, which starts again and has all that it had confirmed."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from queued.core.errors import DisconnectedError
from queued.store.postgres import upgrade
from tests.hosts.conftest import Hosts, ended
from tests.postgres_cluster import Server, cluster


@pytest.fixture
def server() -> Iterator[Server]:
    with cluster(Path(tempfile.mkdtemp(prefix="queued-"))) as made:
        made.primary.configure(wal_writer_delay="10s")  # nothing is written without need
        yield made.primary


@pytest.fixture
def hosts(server: Server, tmp_path: Path) -> Iterator[Hosts]:
    tmp_path.chmod(0o700)
    url = server.cluster.url(server)
    upgrade.migrate(url)
    with ended(Hosts(tmp_path, url)) as made:
        yield made


def test_a_crash_of_the_server_loses_no_claim(hosts: Hosts, server: Server) -> None:
    """The claim is there at once, before the service could record it again."""
    host = hosts.add()
    service = host.serve(workers=2)
    go = hosts.directory / "go"
    hosts.traced("job", f"while ! [ -e {go} ]; do sleep 0.05; done")
    hosts.host_of("job")
    host.link.cut()
    server.stop()
    server.start()
    assert server.execute("SELECT state, runs FROM queued.jobs") == [("processing", 1)]
    host.link.heal()
    with suppress(DisconnectedError):
        hosts.queue.count("completed")
    hosts.queue.wait(hosts.queue.add("true"))  # jobs are claimed again
    go.touch()
    assert hosts.queue.wait("job").label == "completed"
    assert list(hosts.runs("job")) == [1]
    assert [run.outcome for run in hosts.queue.attempts("job")] == ["exit"]
    assert service.process.poll() is None
