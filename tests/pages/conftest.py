"""Each test has the real `queuectl` with a database of its own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.queuectl_runner import QueuectlRunner


@pytest.fixture
def queuectl(tmp_path: Path) -> Iterator[QueuectlRunner]:
    with ExitStack() as stack:
        yield QueuectlRunner(tmp_path, stack)
