"""Waits for a locked database: random, shorter after a long wait, and bounded."""

import time

import pytest

from queued.store.sqlite import busy_handler
from queued.store.sqlite.busy_handler import BusyHandler


class Clock:
    """A clock that moves only in `sleep`."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(busy_handler, "monotonic_s", lambda: made.now_s)
    monkeypatch.setattr(time, "sleep", made.sleep)
    return made


def _wait(clock: Clock, from_s: float, to_s: float, waiter: BusyHandler) -> list[float]:
    """Returns the sleeps of a connection between two waiting times."""
    clock.slept_s.clear()
    start_s = clock.now_s
    tries = 0
    while clock.now_s < start_s + to_s:
        assert waiter(tries)
        tries += 1
    at_s, found = 0.0, []
    for slept_s in clock.slept_s:
        if at_s >= from_s:
            found.append(slept_s)
        at_s += slept_s
    return found


def test_the_busy_handler_tries_more_often_the_longer_it_has_waited(clock: Clock) -> None:
    at_first = _wait(clock, 0.1, 0.2, BusyHandler())
    late = _wait(clock, 0.25, 1.9, BusyHandler())
    stuck = _wait(clock, 2.1, 10.0, BusyHandler())
    assert max(at_first) > 5 * max(late)
    assert max(stuck) > 5 * max(late), (
        "the lock did not change hands meanwhile: to try often is no use"
    )
    assert len(set(late)) == len(late), "random, so that two processes do not collide for ever"


def test_the_first_tries_come_at_once(clock: Clock) -> None:
    assert BusyHandler()(0)
    assert clock.slept_s[0] <= 0.0005


def test_a_limit_ends_it(clock: Clock) -> None:
    waited: list[float] = []
    waiter = BusyHandler(0.5, waited.append)
    tries = 0
    while waiter(tries):
        tries += 1
    assert 100.5 <= clock.now_s < 100.6
    assert waited == sorted(waited)
    assert waiter(0), "the limit is for each wait"
