"""Temporary files for copies of a database, locked while in use, so that stale ones are deleted.

A process that is killed while it makes a copy cannot delete its file. The next copy that is made in
the same directory deletes every such file whose lock is free. Names are random and never used
again, so that a stale name never refers to a file in use.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from queued.store import instance_lock, permissions

_NAME = re.compile(r"\.queued-[0-9a-f]{16}\.new")
_SIDES = ("-wal", "-shm", "-journal", "")  # the locked file itself is the last


@contextmanager
def created(directory: str) -> Iterator[str]:
    """A context with the path of a new, locked file; deletes the file unless it was renamed.

    Raises OSError.
    """
    _delete_dead(directory)
    locked = _create_locked(directory)
    try:
        yield locked.path
    finally:
        _delete(locked.path)
        os.close(locked.descriptor)


class _LockedFile(NamedTuple):
    path: str
    descriptor: int


def _create_locked(directory: str) -> _LockedFile:
    while True:
        path = os.path.join(directory, f".queued-{os.urandom(8).hex()}.new")
        descriptor = permissions.make_file(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Before the lock was taken, another process may have deleted it as a stale one.
        if instance_lock.is_in_place(path, descriptor):
            return _LockedFile(path, descriptor)
        os.close(descriptor)


def _delete_dead(directory: str) -> None:
    for name in filter(_NAME.fullmatch, os.listdir(directory)):
        with suppress(OSError):  # it is gone already, or belongs to another user
            _delete_if_dead(os.path.join(directory, name))


def _delete_if_dead(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete(path)
    finally:
        os.close(descriptor)


def _delete(path: str) -> None:
    for side in _SIDES:
        with suppress(FileNotFoundError):
            os.unlink(path + side)
