"""The log file of a service with `--background`: it follows its path, and rotates at a size.

All processes of the service write to the file as descriptors 1 and 2. Before each line a process
compares the path with its open file, and so notices a rotation by another process or by logrotate.
"""

import fcntl
import os
import stat
from contextlib import suppress

OLD = ".1"  # the end of the name of a file that was full
# Follows no link, and does not wait for a reader of a FIFO.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class LogFile:
    """The file that is open as standard output: its path, and the size at which it is renamed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.max_bytes = 0  # 0: it grows without end

    def follow(self) -> None:
        """Opens the path again if it names another file or no file; renames a file that is full.

        If the system refuses that, the process goes on with the file that it has open.
        """
        with suppress(OSError):
            size = self._own_size()
            if size is not None and (not self.max_bytes or size < self.max_bytes):
                return
            if size is not None:
                self._rename()
            self._open()

    def _own_size(self) -> int | None:
        """Returns the size of the file; None if the path names another file or no file."""
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return None
        return named.st_size if os.path.samestat(named, os.fstat(1)) else None

    def _rename(self) -> None:
        """Renames the full file once, although several processes may find it full.

        Each process locks a descriptor of its own, and then looks again whether the path still
        names its file.
        """
        file = os.open(self._path, _FLAGS)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the holder may be stopped
            if self._own_size() is not None:
                os.rename(self._path, self._path + OLD)
        finally:
            os.close(file)

    def _open(self) -> None:
        """Opens the path as descriptors 1 and 2; a new file gets the mode of the old one.

        A job may have put something else in its place: only a regular file is used.
        """
        file = os.open(self._path, _FLAGS | os.O_CREAT, stat.S_IMODE(os.fstat(1).st_mode))
        try:
            if stat.S_ISREG(os.fstat(file).st_mode):
                os.dup2(file, 1)
                os.dup2(file, 2)
        finally:
            os.close(file)
