"""The engines that the contract is tested on. A second one is a second function in ENGINES."""

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
    """The path of a SQLite database that does not exist yet."""
    return str(tmp_path / "queue.db")
