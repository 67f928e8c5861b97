"""Liveness as a kernel lock: a file that one instance holds locked for as long as any of it lives.

The lock belongs to the open file, which children inherit through fork and commands do not; the
kernel frees it when the last of them is gone. Never judge liveness by a pid or by age.
"""

import errno
import fcntl
import os
import resource
import signal
import struct

from queued.core.errors import StorageError, WaitTimeoutError
from queued.store import permissions

SUFFIX = ".lock"
_HIGH = 900
_FLOCK = struct.Struct("hhqqi")  # type, whence, start, length, pid
_LONGEST_S = 1e9  # 30 years; what a timer cannot count is as good as for ever


def path_of(database: str, instance: str) -> str:
    """The lock file of an instance, beside the database."""
    return f"{database}.{instance}{SUFFIX}"


def hold(path: str) -> int:
    """Makes and locks the file; the descriptor is the lock. Raises StorageError."""
    try:
        descriptor = permissions.make_file(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        msg = f"cannot make {path}: {error.strerror}; the directory must be writable"
        raise StorageError(msg) from None
    return descriptor


def hold_for_runs(descriptor: int) -> int:
    """Takes the second lock of a lock file that is held: the one that runs inherit.

    Returns its descriptor, a high one, so that commands do not use the number for themselves. It
    can only be read. The lock is free once every process that has inherited it is gone, whatever
    user or name space of pids that has become. Raises OSError.
    """
    opened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, min(_HIGH, soft_limit - 1))
    finally:
        os.close(opened)


def runs_alive(descriptor: int) -> bool:
    """Returns whether a process holds the lock that runs inherit. `descriptor`: see `look`."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def alive(path: str) -> bool:
    """Whether anything of the instance lives. A file that is gone means that nothing does."""
    descriptor = look(path)
    if descriptor is None:
        return False
    try:
        return not take(descriptor, shared=True)
    finally:
        os.close(descriptor)


def look(path: str) -> int | None:
    """The lock file of another instance, open to `take`; None if it is gone."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def take(descriptor: int, *, shared: bool = False) -> bool:
    """Tries to lock what `look` returned; True says that its instance is dead."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_gone(path: str, timeout_s: float | None) -> None:
    """Sleeps in the kernel until the instance is gone. Raises WaitTimeoutError."""
    descriptor = look(path)
    if descriptor is None:
        return

    def expire(_signal: int, _frame: object) -> None:
        raise WaitTimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    try:
        if timeout_s is not None:
            signal.setitimer(signal.ITIMER_REAL, min(max(timeout_s, 0.001), _LONGEST_S))
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(descriptor)


def remove(path: str) -> None:
    """Deletes a lock file that is no longer needed; nothing if it is gone already."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
