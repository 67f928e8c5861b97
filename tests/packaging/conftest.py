"""One booted systemd for all tests of a process that need one; for each a fresh service in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging import systemd_testbed as beds
from tests.packaging.systemd_testbed import Bed, Unit
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
def bed(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A systemd with queued installed and not yet started."""
    binds = {venv: "/opt/queued", beds.ROOT: "/opt/source"}
    made = Bed(tmp_path_factory.mktemp("bed") / "state", binds, beds.PREPARE)
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
def stopped(bed: Bed) -> Iterator[Unit]:
    """The service as after the installation, not started."""
    unit = Unit(bed)
    unit.reset()
    yield unit
    shown = bed.run("journalctl", "--unit=queued*", "--output=cat", "--no-pager", check=False)
    print(shown.stdout[-8000:])


@pytest.fixture
def unit(stopped: Unit) -> Unit:
    """The service, started."""
    stopped.systemctl("start")
    return stopped
