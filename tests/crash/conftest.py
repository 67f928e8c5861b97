"""A queue for a test, with the log of its services shown when the test fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.kill_scenario import KillScenario, temporary_scenario
from tests.service import Queue


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """An empty queue; its services are killed at the end."""
    made = Queue(tmp_path)
    try:
        yield made
    finally:
        made.close()
        for service in made.services:
            print(f"--- {service.log_path.name}\n{service.log_path.read_text()[-8000:]}")


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[KillScenario]:
    """A queue whose commands write a trace."""
    with temporary_scenario(tmp_path) as made:
        yield made
