"""Waits until the database has changed, and returns within milliseconds after the commit.

inotify reports that a commit is being written, before the commit can be seen. After an event the
database's version is therefore read several times. While nothing changes, this is one `poll`.
"""

import math
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from queued.core.errors import DisconnectedError
from queued.core.times import monotonic_s
from queued.ctl.context import BUSY_LIMIT_S
from queued.ctl.render import print_err

if TYPE_CHECKING:
    from queued.store.protocols import Store, Watcher

_FIRST_LOOK_S = 0.001
_LAST_LOOK_S = 0.016  # the longest delay after a slow commit
_LOOKING_S = 2.0
_FALLBACK_S = 5.0
_WITHOUT_EVENTS_S = 0.25
_APART_S = 0.02  # a busy queue commits thousands of times a second
_RECONNECT_S = 1.0  # between two tries


class Watch:
    """Reports commits of other programs. Make it, then read the database, then wait."""

    def __init__(self, store: "Store", wake: int | None = None) -> None:
        """`wake` is a descriptor that also ends `wait` while it is readable."""
        self._store = store
        self._poll = select.poll()
        self._wake = wake
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        self._changes = _open_watcher(store)
        if self._changes:
            self._poll.register(self._changes.fileno(), select.POLLIN)
        self._seen = store.version()
        self._returned_s = -math.inf
        self._lost_s: float | None = None  # when the connection was lost

    def wait(self, timeout_s: float = math.inf) -> bool:
        """Returns True after a change since the last return, False after the time-out.

        A change is a commit of another program, or the end of a service.
        """
        deadline_s = monotonic_s() + timeout_s
        time.sleep(min(max(0.0, self._returned_s + _APART_S - monotonic_s()), timeout_s))
        changed = self._update_version()
        while not changed and monotonic_s() < deadline_s:
            changed = self._wait_for_event(deadline_s) or self._update_version()
        self._returned_s = monotonic_s()
        return changed

    @contextmanager
    def outages(self, deadline_s: float = math.inf) -> Iterator[None]:
        """Ends what a lost connection interrupts, without an error; the caller repeats it.

        The next use of the store connects again. Raises DisconnectedError at `deadline_s`, or when
        the outage has lasted as long as a command waits for a locked database.
        """
        try:
            yield
        except DisconnectedError:
            now_s = monotonic_s()
            if self._lost_s is None:
                self._lost_s = now_s
                print_err("queuectl: the connection to the server is lost; trying again")
            if now_s >= min(deadline_s, self._lost_s + BUSY_LIMIT_S):
                raise
            time.sleep(_RECONNECT_S)
        else:
            self._lost_s = None

    def close(self) -> None:
        """Closes the inotify instance; their number is limited for each user."""
        if self._changes:
            self._changes.close()

    def _wait_for_event(self, deadline_s: float) -> bool:
        """Waits some seconds for an event; returns whether it is a change beside the database."""
        longest_s = _FALLBACK_S if self._changes else _WITHOUT_EVENTS_S
        timeout_s = min(max(0.0, deadline_s - monotonic_s()), longest_s)
        ready = self._poll.poll(math.ceil(timeout_s * 1000))
        if any(descriptor == self._wake for descriptor, _ in ready):
            return True
        happened = self._changes.read() if self._changes else None
        if happened and happened.database:
            self._wait_for_version(deadline_s)
        return happened is not None and happened.locks

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


def _open_watcher(store: "Store") -> "Watcher | None":
    try:
        return store.watcher()
    except OSError:
        return None
