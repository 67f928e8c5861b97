"""Sleeps until the database has changed, and answers within milliseconds of the commit.

The kernel's event comes when a commit is being written, before it can be seen: after one, look
again and again for a short while. At rest this is one `poll` and costs nothing.
"""

import math
import select
import time
from typing import TYPE_CHECKING

from queued.core.times import monotonic_s
from queued.store.change_watcher import ChangeWatcher

if TYPE_CHECKING:
    from queued.store.protocols import Store

_FIRST_LOOK_S = 0.001
_LAST_LOOK_S = 0.016  # what a slow commit may add to the answer
_LOOKING_S = 2.0
_FALLBACK_S = 5.0
_WITHOUT_EVENTS_S = 0.25
_APART_S = 0.02  # a busy queue commits thousands of times a second; nobody reads that fast


class Watch:
    """Tells of commits of others since it was made. Make it first, then look, then wait."""

    def __init__(self, store: "Store", database: str) -> None:
        self._store = store
        self._poll = select.poll()
        self._changes = _changes(database)
        if self._changes:
            self._poll.register(self._changes.fileno(), select.POLLIN)
        self._seen = store.version()
        self._returned_s = -math.inf

    def wait(self, timeout_s: float = math.inf) -> None:
        """Returns when there was a commit since the last return, or after the time-out."""
        deadline_s = monotonic_s() + timeout_s
        time.sleep(min(max(0.0, self._returned_s + _APART_S - monotonic_s()), timeout_s))
        while not self._moved() and monotonic_s() < deadline_s:
            if self._event(deadline_s - monotonic_s()):
                self._look(deadline_s)
        self._returned_s = monotonic_s()

    def close(self) -> None:
        """Gives the inotify instance back; a user has few."""
        if self._changes:
            self._changes.close()

    def _event(self, timeout_s: float) -> bool:
        """Whether the database was written; False after a while without anything."""
        longest_s = _FALLBACK_S if self._changes else _WITHOUT_EVENTS_S
        self._poll.poll(math.ceil(max(0.0, min(timeout_s, longest_s)) * 1000))
        return self._changes is not None and self._changes.read().database

    def _look(self, deadline_s: float) -> None:
        """Ends when the commit behind an event can be seen, or when there seems to be none."""
        pause_s = _FIRST_LOOK_S
        until_s = monotonic_s() + _LOOKING_S
        while self._store.version() == self._seen and monotonic_s() < min(until_s, deadline_s):
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_LOOK_S)

    def _moved(self) -> bool:
        before, self._seen = self._seen, self._store.version()
        return self._seen != before


def _changes(database: str) -> ChangeWatcher | None:
    try:
        return ChangeWatcher(database)
    except OSError:
        return None
