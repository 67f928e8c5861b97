"""A full disk of the server: what cannot be stored is not acknowledged, and the rest is kept."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from queued.core.errors import QueuedError
from queued.store.postgres import upgrade
from tests.hosts.conftest import Hosts, ended
from tests.postgres_cluster import Cluster, Server, cluster
from tests.service import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
MIB = 2**20


class FullDisk:
    """A small disk that a file fills."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filler = directory / "filler"
        directory.mkdir(exist_ok=True)
        size = ["-t", "tmpfs", "-o", "size=120m,mode=755", "tmpfs"]
        subprocess.run(["mount", *size, directory], check=True)

    def fill(self, left: int) -> None:
        """Leaves so many bytes."""
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.directory).free - left)

    def empty(self) -> None:
        """Removes the file."""
        self._filler.unlink()


@pytest.fixture
def disk() -> Iterator[FullDisk]:
    made = FullDisk(Path(tempfile.mkdtemp(prefix="queued-disk-")))
    yield made
    subprocess.run(["umount", "-l", made.directory], check=True)
    made.directory.rmdir()


@pytest.fixture
def server(disk: FullDisk) -> Iterator[Cluster]:
    home = disk.directory / "cluster"
    home.mkdir()
    with cluster(home) as made:
        yield made


@pytest.fixture
def hosts(server: Cluster, tmp_path: Path) -> Iterator[Hosts]:
    tmp_path.chmod(0o700)
    url = server.url(server.primary)
    upgrade.migrate(url)
    with ended(Hosts(tmp_path, url)) as made:
        yield made


def start_again(server: Server) -> bool:
    """Starts the server unless it runs; returns whether it does."""
    with suppress(subprocess.CalledProcessError, psycopg.Error):
        server.run("pg_ctl", "status")
        return bool(server.execute("SELECT 1"))
    with suppress(subprocess.CalledProcessError):
        server.start()
    return False


def test_a_full_disk_loses_no_acknowledged_job(
    disk: FullDisk, server: Cluster, hosts: Hosts
) -> None:
    """First the tables cannot grow, and then the log of the server, which ends it."""
    service = hosts.add().serve(workers=2)
    go, count = hosts.directory / "go", hosts.directory / "count"
    command = f"while ! [ -e {go} ]; do sleep 0.05; done; echo $QUEUED_JOB_ID >> {count}"
    acknowledged = [hosts.queue.add(command, id=f"early{n}") for n in range(3)]
    disk.fill(3 * MIB)
    refused: list[str] = []
    while not refused:
        name = f"large{len(acknowledged)}"
        try:
            hosts.queue.add(command, id=name, stdin=os.urandom(MIB // 2).hex())
            acknowledged.append(name)
        except QueuedError as error:
            refused.append(str(error))
    assert "no room on the server's disk" in refused[0]
    write_log = f"SELECT pg_logical_emit_message(true, 'x', repeat('x', {MIB}))"
    while "PANIC" not in (server.primary.data / "log").read_text():
        with suppress(psycopg.Error):
            server.primary.execute(write_log)
    with pytest.raises(QueuedError):
        hosts.queue.add("true", id="down")
    disk.empty()
    eventually(lambda: start_again(server.primary), within_s=60)
    go.touch()
    for name in acknowledged:
        assert hosts.queue.wait(name, within_s=60).label == "completed"
    ran = count.read_text().split()
    assert {*acknowledged} <= {*ran}
    assert len(ran) == len({*ran}), "each job has run once"
    assert service.logged("database.refused")
    assert service.process.poll() is None
