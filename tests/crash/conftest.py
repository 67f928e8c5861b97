"""A scenario for tests that kill processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.kill_scenario import KillScenario, temporary_scenario


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[KillScenario]:
    """A queue whose commands write a trace."""
    with temporary_scenario(tmp_path) as made:
        yield made
