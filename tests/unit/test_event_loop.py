"""What a sleeper hears of, and when."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from queued.service.linux.event_loop import EventLoop


class Bell:
    """A pipe that rings until it is heard."""

    def __init__(self) -> None:
        self.read, self._write = os.pipe()
        self.heard = 0

    def ring(self) -> None:
        os.write(self._write, b"x")

    def hear(self) -> None:
        os.read(self.read, 1)
        self.heard += 1

    def close(self) -> None:
        os.close(self.read)
        os.close(self._write)


@pytest.fixture
def bells() -> Iterator[tuple[EventLoop, Bell, Bell]]:
    """A sleeper, with something usual and something urgent to wake it."""
    wake, usual, urgent = EventLoop(), Bell(), Bell()
    wake.add(usual.read, usual.hear)
    wake.add(urgent.read, urgent.hear, urgent=True)
    yield wake, usual, urgent
    usual.close()
    urgent.close()


def test_a_nap_is_ended_by_what_is_urgent_and_never_goes_on(
    bells: tuple[EventLoop, Bell, Bell],
) -> None:
    wake, usual, urgent = bells
    urgent.ring()
    assert wake.nap(3600)
    assert (usual.heard, urgent.heard) == (0, 1)


def test_what_came_during_a_nap_is_heard_after_it(bells: tuple[EventLoop, Bell, Bell]) -> None:
    wake, usual, urgent = bells
    usual.ring()
    assert wake.nap(0.001)
    assert (usual.heard, urgent.heard) == (1, 0)


def test_no_nap_hears_nothing(bells: tuple[EventLoop, Bell, Bell]) -> None:
    wake, usual, urgent = bells
    usual.ring()
    urgent.ring()
    assert not wake.nap(0)
    assert (usual.heard, urgent.heard) == (0, 0)


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
