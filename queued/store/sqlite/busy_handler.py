"""How long others are waited for that hold the database."""

import time
from collections.abc import Callable
from typing import TypeVar

import apsw

from queued.core.times import monotonic_s

T = TypeVar("T")

_SLEEP_S = 0.02  # at most, between two tries
_LATE_S, _EAGER_S = 0.2, 0.002  # who has waited so long sleeps no longer than that
_STUCK_S = 2.0  # unless it is nobody's turn: one holds the lock for long


class BusyHandler:
    """A busy handler: sleeps a random short while, so that nobody starves; asks when to give up.

    Who has waited longer than most tries more often than most, until it has its turn.
    `limit_s` is how long one statement may wait (None: for ever). `on_wait` is called with the
    seconds waited so far each time before it sleeps.
    """

    def __init__(
        self, limit_s: float | None = None, on_wait: Callable[[float], None] | None = None
    ) -> None:
        self._limit_s = limit_s
        self._on_wait = on_wait
        self._since = 0.0

    def __call__(self, tries: int) -> bool:
        """Called by SQLite after `tries` waits for the same lock; False gives up."""
        now = monotonic_s()
        if tries == 0:
            self._since = now
        waited = now - self._since
        if self._limit_s is not None and waited >= self._limit_s:
            return False
        if self._on_wait is not None:
            self._on_wait(waited)
        from random import uniform  # half a millisecond of queuectl's start, seldom needed

        most = _EAGER_S if _LATE_S <= waited < _STUCK_S else _SLEEP_S
        time.sleep(uniform(0.000_1, min(0.000_5 * (tries + 1), most)))
        return True


def patiently(call: Callable[[], T], busy_handler: Callable[[int], bool]) -> T:
    """What `call` returns, however long another is stopped at a lock of the WAL's index.

    SQLite waits 10 s there, does not ask the busy handler, and calls it a protocol error. Whatever
    begins to read can meet it; nothing was done then.
    """
    tries = 0
    while True:
        try:
            return call()
        except apsw.ProtocolError:
            if not busy_handler(tries):
                raise
        tries += 1
