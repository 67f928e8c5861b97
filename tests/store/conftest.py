"""The engines that keep the contract. A second one is one more function in ENGINES."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.store.engine import Engine


def _sqlite(directory: Path, stack: ExitStack) -> Engine:
    path = str(directory / "queue.db")
    return Engine(
        stack,
        lambda: SqliteStore(path, BusyHandler(10)),
        lambda: SqliteLedger(path, BusyHandler(10)),
    )


ENGINES = {"sqlite": _sqlite}


@pytest.fixture(params=list(ENGINES.values()), ids=list(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A fresh database of each engine."""
    with ExitStack() as stack:
        yield request.param(tmp_path, stack)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a SQLite database may be made."""
    return str(tmp_path / "queue.db")
