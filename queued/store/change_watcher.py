"""Reports that the database may have changed, so that no process needs to poll it.

inotify on the directory reports that a file was written; the file itself is never opened. The
event arrives while the writer still holds the write lock, before its commit is visible. Each lock
file has a separate watch for its close: a watch of the directory for
closes would also report each close of the database.
"""

import os
from contextlib import suppress

from inotify_simple import INotify, flags, parse_events

from queued.store.instance_lock import SUFFIX
from queued.store.protocols import DatabaseEvents

_MOVED = flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
_LOST = flags.Q_OVERFLOW | flags.UNMOUNT | flags.MOVE_SELF


class ChangeWatcher:
    """Watches the files of a database. `fileno()` is readable when events are waiting."""

    def __init__(self, database: str) -> None:
        """Raises OSError where inotify is not available (limits, some network file systems)."""
        self._directory, name = os.path.split(database)
        self._written = {name, f"{name}-wal"}
        self._replaced = {*self._written, f"{name}-shm"}
        self._prefix = f"{name}."
        self._inotify = INotify(nonblocking=True)
        self._inotify.add_watch(
            self._directory, flags.MODIFY | flags.CREATE | flags.MOVE_SELF | _MOVED
        )
        for name in os.listdir(self._directory):
            self._watch_lock(name)

    def fileno(self) -> int:
        """Returns the descriptor to poll."""
        descriptor: int = self._inotify.fileno()
        return descriptor

    def read(self) -> DatabaseEvents:
        """Returns what happened since the last read.

        Reads one buffer of events and leaves the rest for the next call, so that a process that
        writes to the directory all the time cannot keep the caller in this function.
        """
        database = locks = False
        try:
            content = os.read(self._inotify.fileno(), 65536)
        except BlockingIOError:
            return DatabaseEvents(database=False, locks=False)
        for event in parse_events(content):
            if event.mask & _LOST:
                database = locks = True
            elif event.mask & flags.MODIFY:
                database = database or event.name in self._written
            elif event.mask & flags.CREATE:
                self._watch_lock(event.name)
            elif event.mask & _MOVED:
                database = database or event.name in self._replaced
                locks = locks or self._is_lock(event.name)
            elif event.mask & flags.CLOSE_WRITE:
                locks = True
        return DatabaseEvents(database, locks)

    def _is_lock(self, name: str) -> bool:
        return name.startswith(self._prefix) and name.endswith(SUFFIX)

    def _watch_lock(self, name: str) -> None:
        """Watches the file if it is a lock file: only its instance has that open for writing."""
        if self._is_lock(name):
            with suppress(OSError):  # the file is gone already, or is a symbolic link
                path = os.path.join(self._directory, name)
                self._inotify.add_watch(path, flags.CLOSE_WRITE | flags.DONT_FOLLOW)

    def close(self) -> None:
        """Stops watching."""
        self._inotify.close()
