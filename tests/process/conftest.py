"""A queue for a test, with the log of its services shown when the test fails."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.process.marked_sleep import MarkedSleep
from tests.service import Queue


@contextmanager
def opened(directory: Path) -> Iterator[Queue]:
    made = Queue(directory)
    try:
        yield made
    finally:
        made.close()
        for service in made.services:
            print(f"--- {service.log_path.name}\n{service.log_path.read_text()[-8000:]}")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """An empty queue; its services are killed at the end."""
    with opened(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """A queue with a service of four workers that the tests of a file share."""
    with opened(tmp_path_factory.mktemp("served")) as made:
        made.serve(workers=4)
        yield made


@pytest.fixture
def sleeper() -> Iterator[MarkedSleep]:
    """A sleep of this test alone; processes that still have it at the end are killed."""
    made = MarkedSleep()
    yield made
    for pid in made.living():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
