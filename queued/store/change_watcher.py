"""Tells when the database may have changed, without asking it again and again.

inotify on the directory reports that a file was written; the file itself is never opened. The
event comes while the writer still holds the write lock and before its commit can be seen. Each
lock file has a watch of its own, so that opening and closing a file for reading causes no event.
"""

import os
from contextlib import suppress

from inotify_simple import INotify, flags, parse_events

from queued.store.instance_lock import SUFFIX


class ChangeWatcher:
    """Events of the database's files. `fileno()` is readable when there may be something new."""

    def __init__(self, database: str) -> None:
        """Raises OSError where inotify is not to be had (limits, some network file systems)."""
        self._directory, name = os.path.split(database)
        self._written = {name, f"{name}-wal"}
        self._prefix = f"{name}."
        self._inotify = INotify(nonblocking=True)
        self._inotify.add_watch(self._directory, flags.MODIFY | flags.CREATE)
        for name in os.listdir(self._directory):
            self._watch_lock(name)

    def fileno(self) -> int:
        """For poll."""
        descriptor: int = self._inotify.fileno()
        return descriptor

    def take(self) -> tuple[bool, bool]:
        """What has come: (the database was written, a lock file was closed).

        One read, so that whoever writes to other files there without end cannot keep us; what it
        does not hold can be read at once.
        """
        written = closed = False
        try:
            content = os.read(self._inotify.fileno(), 65536)
        except BlockingIOError:
            return False, False
        for event in parse_events(content):
            if event.mask & flags.Q_OVERFLOW:
                written = closed = True
            elif event.mask & flags.MODIFY:
                written = written or event.name in self._written
            elif event.mask & flags.CREATE:
                self._watch_lock(event.name)
            elif event.mask & flags.CLOSE_WRITE:
                closed = True
        return written, closed

    def _watch_lock(self, name: str) -> None:
        """Watches for the end of the instance if the file is its lock: it alone has it writable."""
        if name.startswith(self._prefix) and name.endswith(SUFFIX):
            with suppress(OSError):  # the file is gone already, or is a symbolic link
                path = os.path.join(self._directory, name)
                self._inotify.add_watch(path, flags.CLOSE_WRITE | flags.DONT_FOLLOW)

    def close(self) -> None:
        """Stops watching."""
        self._inotify.close()
