"""Fixtures of all tests."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import engine_choice, postgres_server
from tests.cli.queuectl_runner import QueuectlRunner
from tests.crash import mutants
from tests.service import DEFECT, Queue, cleaned_up

ROOT = Path(__file__).resolve().parent.parent
# Without compiled modules, a test would compile the whole program at each start of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if DEFECT:
    mutants.DEFECTS[DEFECT]("")


@pytest.fixture
def root() -> Path:
    """The source tree."""
    return ROOT


@pytest.fixture(scope="module")
def engine_name() -> str:
    """The database engine of the test; see `engine_choice`."""
    return "sqlite"


@pytest.fixture
def queue(tmp_path: Path, engine_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """An empty queue; its services are killed at the end."""
    with cleaned_up(Queue(tmp_path, postgres_server.location(engine_name))) as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def queuectl(tmp_path: Path, engine_name: str) -> Iterator[QueuectlRunner]:
    """The real `queuectl` with a database of its own."""
    with ExitStack() as stack:
        url = postgres_server.location(engine_name, postgres_server.empty_queue)
        yield QueuectlRunner(tmp_path, stack, url)


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shields tests from the settings, the database and the ignored signals of their user.

    Signals that `nohup` or a shell ignores for a background job are inherited as ignored.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for name in os.environ:
        if name.startswith(("QUEUECTL_", "QUEUED_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests on another engine than the one that was asked for.

    The longest tests come first, so that no worker of xdist has one of them left at the end.
    """
    items.sort(key=lambda item: item.path.parent.name not in {"hosts", "torture"})
    left_out = [item for item in items if not engine_choice.runs(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if engine_choice.runs(item)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the very end what was used and what was left out, so that it is not overlooked."""
    found = " and ".join(map(str, postgres_server.versions()))
    terminalreporter.write_line(f"versions of PostgreSQL: {found or 'none is installed'}")
    left_out = terminalreporter.stats.get("skipped", [])
    if left_out:
        reasons = sorted({str(report.longrepr[2]) for report in left_out})
        terminalreporter.section(
            f"{len(left_out)} TESTS WERE LEFT OUT", sep="!", red=True, bold=True
        )
        for reason in reasons:
            terminalreporter.write_line(reason, red=True)
