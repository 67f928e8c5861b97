"""A worker that hangs in the kernel is killed, and what it hangs for: its job alone is lost."""

import shlex
import sys

import pytest

from tests.service import Queue, eventually

pytestmark = pytest.mark.both_engines

# The pipe of the output is locked while splice(2) waits for its source, and has something to read
# when the worker, which is stopped meanwhile, goes on.
SPLICE = """
import os, signal, socket, time
source, other = socket.socketpair()
worker = os.getppid()
os.kill(worker, signal.SIGSTOP)
os.write(1, b"hello")
if os.fork():
    os.splice(source.fileno(), 1, 65536)
time.sleep(0.3)
os.kill(worker, signal.SIGCONT)
"""
HANGS_SOON = {"WATCHDOG_USEC": "6000000"}  # after two pings, one a second


def test_a_command_that_locks_the_pipe_of_its_output(queue: Queue) -> None:
    service = queue.serve(env=HANGS_SOON)
    begun, over = queue.file("begun"), queue.file("over")
    beside = queue.add(f"touch {begun}; until [ -e {over} ]; do sleep 0.05; done")
    eventually(begun.exists)
    command = shlex.join([sys.executable, "-S", "-c", SPLICE])
    name = queue.add(f"exec {command}", timeout=0.5, max_retries=1)
    job = queue.wait(name)
    assert (job.label, queue.attempts(name)[0].outcome) == ("dead", "lost")
    assert len(service.logged("child.hung")) == 1
    assert queue.wait(queue.add("true")).label == "completed"
    over.touch()
    assert (queue.wait(beside).label, queue.job(beside).runs) == ("completed", 1)
