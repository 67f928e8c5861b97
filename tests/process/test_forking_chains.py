"""Processes that fork and exit in a loop have another pid whenever a search comes to them."""

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.service import WATCHED, Queue, eventually

# A service that collects few dead children at once.
FEW = """
import sys
from queued.service.linux import procfs

procfs._REAP_AT_ONCE = 3
from queued.__main__ import main
sys.exit(main())
"""

# Three chains, which end by themselves after 15 s. Each link adds a byte to the file.
CHAINS = """
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
end = time.monotonic() + 15
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.closerange(file + 1, 1024)
for _ in range(3):
    if os.fork() == 0:
        break
else:
    sys.exit()
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
    os.write(file, b".")
    time.sleep(0.001)
"""


@pytest.fixture
def links(queue: Queue) -> Path:
    """Returns the file to which the chains write."""
    return queue.file("links")


def chains(links: Path) -> str:
    return shlex.join([sys.executable, "-IS", "-c", CHAINS, str(links)])


def compare(links: Path) -> str:
    """Returns a command that fails while a chain lives."""
    size = f"$(stat -c %s {shlex.quote(str(links))})"
    return f"before={size}; sleep 0.2; exec test {size} = $before"


def test_chains_of_a_dead_worker_are_ended_before_its_job_runs_again(
    queue: Queue, links: Path
) -> None:
    service = queue.serve(workers=1)
    first = f"{chains(links)}; sleep 30"
    name = queue.add(f"[ $QUEUED_ATTEMPT = 1 ] || {{ {compare(links)}; }}; {first}", max_retries=2)
    eventually(lambda: links.exists() and links.stat().st_size > 100)
    os.kill(service.child(1), signal.SIGKILL)
    assert queue.wait(name, within_s=12).label == "completed"
    assert [run.outcome for run in queue.attempts(name)] == ["lost", "exit"]


def test_a_worker_collects_more_children_than_it_collects_at_once(queue: Queue) -> None:
    """They die while it is stopped, so that the kernel reports them once."""
    queue.spawn(workers=1, env=WATCHED, program=("-c", FEW)).ready()
    die = "for n in $(seq 20); do (true &); done; sleep 0.3"
    name = queue.add(f"kill -STOP $PPID; {die}; kill -CONT $PPID", kill_grace=60)
    assert queue.wait(name, within_s=50).label == "completed"
