"""Fixtures of the tests of the database."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.postgres_server import versions
from tests.store.engine import Engine
from tests.store.engines import ENGINES, OTHER


@pytest.fixture(params=[name for name in ENGINES if name != OTHER or len(versions()) > 1])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A fresh database of each engine."""
    with ExitStack() as stack:
        yield ENGINES[request.param](tmp_path, stack)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of a SQLite database that does not exist yet."""
    return str(tmp_path / "queue.db")
