"""A worker that hangs in the kernel is killed, and what it hangs for: its job alone is lost."""

import sys

import pytest

from tests.process import locked_pipe
from tests.service import Queue, eventually

pytestmark = pytest.mark.both_engines

HANGS_SOON = {"WATCHDOG_USEC": "6000000"}  # after two pings, one a second


def test_a_command_that_locks_the_pipe_of_its_output(queue: Queue) -> None:
    service = queue.serve(env=HANGS_SOON)
    begun, over = queue.file("begun"), queue.file("over")
    beside = queue.add(f"touch {begun}; until [ -e {over} ]; do sleep 0.05; done")
    eventually(begun.exists)
    name = queue.add(locked_pipe.command(sys.executable), timeout=0.5, max_retries=1)
    job = queue.wait(name)
    assert (job.label, queue.attempts(name)[0].outcome) == ("dead", "lost")
    assert len(service.logged("child.hung")) == 1
    assert queue.wait(queue.add("true")).label == "completed"
    over.touch()
    assert (queue.wait(beside).label, queue.job(beside).runs) == ("completed", 1)
