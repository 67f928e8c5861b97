"""Each test has a `queuectl` with a database of its own."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.queuectl_runner import QueuectlRunner

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def queuectl(tmp_path: Path) -> Iterator[QueuectlRunner]:
    with ExitStack() as stack:
        yield QueuectlRunner(tmp_path, stack)


@pytest.fixture
def until() -> Until:
    """Waits for a condition, ten seconds at most."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.01)

    return wait
