"""Turns errors of the system into messages: which file, what is wrong, and what to do next."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from queued.core.errors import DeniedError, QueuedError, StorageError

_REFUSALS = {
    errno.EROFS: "its file system is read-only; see the kernel's log, and remount it",
    errno.ENOSPC: "there is no room on the disk; free some and try again",
    errno.EDQUOT: "the disk quota is used up; free some room or raise the quota",
    errno.EFBIG: "the file may not grow; raise the limit of file sizes (ulimit -f, LimitFSIZE=)",
    errno.EMFILE: "this process may not open more files; raise the limit (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "the system cannot open more files; raise the sysctl fs.file-max",
}


def refusal(number: int, path: str) -> StorageError | None:
    """Returns the error of a file that cannot be written because of `number`, an errno.

    Returns None if the errno does not tell that the system refuses to write.
    """
    reason = _REFUSALS.get(number)
    return None if reason is None else StorageError(f"cannot write {path}: {reason}")


def named_os_error(error: OSError, path: str) -> QueuedError:
    """Returns the error to raise for an error of the system about a file."""
    if (refused := refusal(error.errno or 0, path)) is not None:
        return refused
    if isinstance(error, PermissionError):
        return DeniedError(f"no permission to write {path}; check its owner and mode")
    return StorageError(f"{path}: {error.strerror}")


@contextmanager
def named_os_errors(path: str) -> Iterator[None]:
    """Raises each OSError of its block as `named_os_error`."""
    try:
        yield
    except OSError as error:
        raise named_os_error(error, path) from error
