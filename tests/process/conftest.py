"""A service and a sleep for tests of real processes."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.process.marked_sleep import MarkedSleep
from tests.service import Queue, cleaned_up


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """A queue with a service of four workers that the tests of a file share."""
    with cleaned_up(Queue(tmp_path_factory.mktemp("served"))) as made:
        made.serve(workers=4)
        yield made


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """A queue with a service of one worker that the tests of a file share."""
    with cleaned_up(Queue(tmp_path_factory.mktemp("one_worker"))) as made:
        made.serve(workers=1)
        yield made


@pytest.fixture
def sleeper() -> Iterator[MarkedSleep]:
    """A sleep of this test alone; processes that still have it at the end are killed."""
    made = MarkedSleep()
    yield made
    for pid in made.living():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
