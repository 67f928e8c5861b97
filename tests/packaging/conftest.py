"""One booted systemd for all tests of a process that need one; for each a fresh service in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging import systemd_testbed as beds
from tests.packaging.systemd_testbed import SystemdTestbed, Unit
from tests.service import Queue


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project for the system's Python, to be used at /opt/queued."""
    missing = beds.missing()
    if missing:
        pytest.skip(f"needs {missing}")
    directory = tmp_path_factory.mktemp("a venv")
    beds.make_venv(directory, "/opt/queued")
    return directory


@pytest.fixture(scope="session")
def testbed(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdTestbed]:
    """A systemd with queued installed and not yet started."""
    binds = {venv: "/opt/queued", beds.ROOT: "/opt/source"}
    made = SystemdTestbed(tmp_path_factory.mktemp("testbed") / "state", binds, beds.PREPARE)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """An empty queue."""
    made = Queue(tmp_path)
    yield made
    made.close()


@pytest.fixture
def stopped(testbed: SystemdTestbed) -> Iterator[Unit]:
    """The service as after the installation, not started."""
    unit = Unit(testbed)
    unit.reset()
    yield unit
    shown = testbed.run("journalctl", "--unit=queued*", "--output=cat", "--no-pager", check=False)
    print(shown.stdout[-8000:])


@pytest.fixture
def unit(stopped: Unit) -> Unit:
    """The service, started."""
    stopped.systemctl("start")
    return stopped
