"""Renames a file without replacing another one: renameat2(2)."""

import ctypes
import errno
import os

_AT_FDCWD = -100
_NOREPLACE = 1
_UNKNOWN = frozenset({errno.EINVAL, errno.ENOSYS})  # to this file system, or to this kernel


def rename_to_free(old: str, new: str) -> None:
    """Renames a file. Raises FileExistsError if there is a file of the new name."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(old), os.fsencode(new)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNKNOWN:
        raise OSError(number, os.strerror(number), new)
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.rename(old, new)
