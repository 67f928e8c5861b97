"""The events that wake the event loop."""

from tests.service import run_python

# In a process of its own: these are handlers and a mask of the whole process.
LISTENS = """
import os, select, signal, time
from queued.service.linux.signals import ChildExits, Signals

signals = Signals((signal.SIGTERM, signal.SIGCHLD))
deaths = ChildExits()
start = time.monotonic()
child = os.posix_spawn("/bin/true", ["true"], {})
assert select.select([deaths], [], [], 10)[0]
assert deaths.drain()
os.waitpid(child, 0)
assert not deaths.drain(), "it was told once"
child = os.posix_spawn("/bin/true", ["true"], {})
assert deaths.wait(10)
os.waitpid(child, 0)
assert not deaths.wait(0.01), "it was told once"
assert not deaths.drain(), "in either way"
assert time.monotonic() - start < 5
assert not signals.arrived
os.kill(os.getpid(), signal.SIGTERM)
assert signals.arrived
assert signals.drain() == [signal.SIGTERM]
assert not signals.arrived
"""


def test_a_death_ends_a_sleep_for_it_and_a_signal_is_remembered() -> None:
    run_python("-c", LISTENS, check=True)
