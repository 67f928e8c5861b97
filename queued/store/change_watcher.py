"""Tells when the database may have changed, without asking it again and again.

inotify on the directory reports that a file was written; the file itself is never opened. The
event comes while the writer still holds the write lock and before its commit can be seen.
"""

import os

from inotify_simple import INotify, flags, parse_events

from queued.store.instance_lock import SUFFIX


class ChangeWatcher:
    """Events of the database's files. `fileno()` is readable when there may be something new."""

    def __init__(self, database: str) -> None:
        """Raises OSError where inotify is not to be had (limits, some network file systems)."""
        directory, name = os.path.split(database)
        self._written = {name, f"{name}-wal"}
        self._prefix = f"{name}."
        self._inotify = INotify(nonblocking=True)
        self._inotify.add_watch(directory, flags.MODIFY | flags.CLOSE_WRITE | flags.CLOSE_NOWRITE)

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
            elif event.name.startswith(self._prefix) and event.name.endswith(SUFFIX):
                closed = True
        return written, closed

    def close(self) -> None:
        """Stops watching."""
        self._inotify.close()
