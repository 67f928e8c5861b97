"""What a sleeper hears of, and when."""

import subprocess
import sys

# In a process of its own: these are handlers and a mask of the whole process.
LISTENS = """
import os, signal, time
from queued.service.linux.signals import ChildExits, Signals

signals = Signals((signal.SIGTERM, signal.SIGCHLD))
deaths = ChildExits()
start = time.monotonic()
child = os.posix_spawn("/bin/true", ["true"], {})
assert deaths.wait(10)
os.waitpid(child, 0)
assert not deaths.wait(0.01), "it was told once"
assert not deaths.take(), "in either way"
assert time.monotonic() - start < 5
assert not signals.arrived
os.kill(os.getpid(), signal.SIGTERM)
assert signals.arrived
assert signals.take() == [signal.SIGTERM]
assert not signals.arrived
"""


def test_a_death_ends_a_sleep_for_it_and_a_signal_is_remembered() -> None:
    subprocess.run([sys.executable, "-c", LISTENS], check=True)
