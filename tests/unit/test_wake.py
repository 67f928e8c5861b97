"""What a sleeper hears of, and when."""

import os
from collections.abc import Iterator

import pytest

from queued.service.wake import Wake


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
def bells() -> Iterator[tuple[Wake, Bell, Bell]]:
    """A sleeper, with something usual and something urgent to wake it."""
    wake, usual, urgent = Wake(), Bell(), Bell()
    wake.add(usual.read, usual.hear)
    wake.add(urgent.read, urgent.hear, urgent=True)
    yield wake, usual, urgent
    usual.close()
    urgent.close()


def test_a_nap_is_ended_by_what_is_urgent_and_never_goes_on(bells: tuple[Wake, Bell, Bell]) -> None:
    wake, usual, urgent = bells
    urgent.ring()
    assert wake.nap(3600)
    assert (usual.heard, urgent.heard) == (0, 1)


def test_what_came_during_a_nap_is_heard_after_it(bells: tuple[Wake, Bell, Bell]) -> None:
    wake, usual, urgent = bells
    usual.ring()
    assert wake.nap(0.001)
    assert (usual.heard, urgent.heard) == (1, 0)


def test_no_nap_hears_nothing(bells: tuple[Wake, Bell, Bell]) -> None:
    wake, usual, urgent = bells
    usual.ring()
    urgent.ring()
    assert not wake.nap(0)
    assert (usual.heard, urgent.heard) == (0, 0)


def test_what_is_not_urgent_waits_while_only_that_is_wanted(bells: tuple[Wake, Bell, Bell]) -> None:
    wake, usual, urgent = bells
    usual.ring()
    urgent.ring()
    wake.wait(None, urgent=True)
    assert (usual.heard, urgent.heard) == (0, 1)
    wake.wait(None)
    assert (usual.heard, urgent.heard) == (1, 1)
