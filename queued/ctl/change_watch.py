"""Waits until the database has changed, and returns within milliseconds after the commit.

inotify reports that a commit is being written, before the commit can be seen. After an event the
database's version is therefore read several times. While nothing changes, this is one `poll`.
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
_LAST_LOOK_S = 0.016  # the longest delay after a slow commit
_LOOKING_S = 2.0
_FALLBACK_S = 5.0
_WITHOUT_EVENTS_S = 0.25
_APART_S = 0.02  # a busy queue commits thousands of times a second


class Watch:
    """Reports commits of other programs. Make it, then read the database, then wait."""

    def __init__(self, store: "Store", database: str) -> None:
        self._store = store
        self._poll = select.poll()
        self._changes = _open_watcher(database)
        if self._changes:
            self._poll.register(self._changes.fileno(), select.POLLIN)
        self._seen = store.version()
        self._returned_s = -math.inf

    def wait(self, timeout_s: float = math.inf) -> None:
        """Returns after a commit of another program since the last return, or the time-out."""
        deadline_s = monotonic_s() + timeout_s
        time.sleep(min(max(0.0, self._returned_s + _APART_S - monotonic_s()), timeout_s))
        while not self._update_version() and monotonic_s() < deadline_s:
            if self._wait_for_event(deadline_s - monotonic_s()):
                self._wait_for_version(deadline_s)
        self._returned_s = monotonic_s()

    def close(self) -> None:
        """Closes the inotify instance; their number is limited for each user."""
        if self._changes:
            self._changes.close()

    def _wait_for_event(self, timeout_s: float) -> bool:
        """Returns True when the database was written, or False after some seconds."""
        longest_s = _FALLBACK_S if self._changes else _WITHOUT_EVENTS_S
        self._poll.poll(math.ceil(max(0.0, min(timeout_s, longest_s)) * 1000))
        return self._changes is not None and self._changes.read().database

    def _wait_for_version(self, deadline_s: float) -> None:
        """Returns when the commit behind an event can be seen, or after 2 s without one."""
        pause_s = _FIRST_LOOK_S
        until_s = monotonic_s() + _LOOKING_S
        while self._store.version() == self._seen and monotonic_s() < min(until_s, deadline_s):
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LAST_LOOK_S)

    def _update_version(self) -> bool:
        """Reads the version. Returns whether it has changed since the last call."""
        before, self._seen = self._seen, self._store.version()
        return self._seen != before


def _open_watcher(database: str) -> ChangeWatcher | None:
    try:
        return ChangeWatcher(database)
    except OSError:
        return None
