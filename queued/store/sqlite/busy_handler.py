"""Waits while another process has locked the database."""

import time
from collections.abc import Callable
from typing import TypeVar

import apsw

from queued.core.times import monotonic_s

T = TypeVar("T")

_SLEEP_S = 0.02  # at most, between two tries
_LATE_S, _EAGER_S = 0.2, 0.002  # after a wait of _LATE_S a sleep is at most _EAGER_S
_STUCK_S = 2.0  # after that, a single process holds the lock, and short sleeps gain nothing


class BusyHandler:
    """A busy handler of SQLite, which sleeps for a short random time before each new try.

    A process that has waited long tries more often, so that no process waits for ever. `limit_s`
    is the longest wait of one statement (None: no limit). `on_wait` is called before each sleep
    with the seconds waited so far.
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


def retry_protocol_errors(call: Callable[[], T], busy_handler: Callable[[int], bool]) -> T:
    """Calls `call` until it returns, as long as the busy handler waits; returns its result.

    If a process is stopped while it holds a lock of the WAL index, SQLite waits for 10 s without
    calling the busy handler and raises ProtocolError. Any statement that begins a read can raise
    it, and has changed nothing then.
    """
    tries = 0
    while True:
        try:
            return call()
        except apsw.ProtocolError:
            if not busy_handler(tries):
                raise
        tries += 1
