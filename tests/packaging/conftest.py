"""One booted systemd for all tests; each test gets a fresh service in it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.systemd_testbed import (
    PREPARE,
    ROOT,
    SystemdTestbed,
    Unit,
    make_venv,
    missing_tool,
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several test processes, one runs all these tests: only it boots a systemd."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.xdist_group("packaging"))


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv of the system's Python with the project, to be mounted at /opt/queued.

    It is that of the package which QUEUED_TEST_PACKAGE names, if set.
    """
    missing = missing_tool()
    if missing:
        pytest.skip(f"needs {missing}")
    directory = tmp_path_factory.mktemp("a venv")
    if package := os.environ.get("QUEUED_TEST_PACKAGE"):
        subprocess.run(["dpkg-deb", "--extract", package, directory], check=True)
        return directory / "opt" / "queued"
    make_venv(directory, "/opt/queued")
    return directory


@pytest.fixture(scope="session")
def testbed(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdTestbed]:
    """A systemd with queued installed and not started."""
    binds = {venv: "/opt/queued", ROOT: "/opt/source"}
    made = SystemdTestbed(tmp_path_factory.mktemp("testbed") / "state", binds, PREPARE)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def stopped(testbed: SystemdTestbed) -> Iterator[Unit]:
    """The service as it is after an installation, not started."""
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
