"""Fixtures of the tests of the database."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.store.engine import Engine
from tests.store.engines import ENGINES


@pytest.fixture(params=list(ENGINES.values()), ids=list(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A fresh database of each engine."""
    with ExitStack() as stack:
        yield request.param(tmp_path, stack)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of a SQLite database that does not exist yet."""
    return str(tmp_path / "queue.db")
