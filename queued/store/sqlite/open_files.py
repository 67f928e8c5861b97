"""The files that a connection has open, to detect that their paths name other files now.

After the database or a side file was removed, replaced or unmounted, SQLite goes on writing to the
files that it has open, and what it commits there is lost.
"""

import os


class OpenFiles:
    """The files of one connection."""

    def __init__(self, path: str) -> None:
        """`path` is the database: an existing file, which the caller opens next."""
        self._expected = {path: _file_id(path)}

    def add_side_files(self, path: str) -> None:
        """Must be called after the first read, when SQLite has opened the side files."""
        for side in (f"{path}-wal", f"{path}-shm"):
            self._expected[side] = _file_id(side)

    def first_replaced(self) -> str | None:
        """Returns the first path that no longer names the open file; None if all do."""
        for path, expected in self._expected.items():
            if _file_id(path) != expected:
                return path
        return None


def _file_id(path: str) -> tuple[int, int] | None:
    """Returns the device and the inode; None if there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
