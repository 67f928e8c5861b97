"""A service and a sleep for tests of real processes."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests import engine_choice, postgres_server
from tests.process.marked_sleep import MarkedSleep
from tests.service import Queue, cleaned_up

pytest_generate_tests = engine_choice.parametrize


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> Iterator[Queue]:
    """A queue with a service of four workers that the tests of a file share."""
    directory, location = tmp_path_factory.mktemp("served"), postgres_server.location(engine_name)
    with cleaned_up(Queue(directory, location)) as made:
        made.serve(workers=4)
        yield made


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> Iterator[Queue]:
    """A queue with a service of one worker that the tests of a file share."""
    directory, location = (
        tmp_path_factory.mktemp("one_worker"),
        postgres_server.location(engine_name),
    )
    with cleaned_up(Queue(directory, location)) as made:
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
