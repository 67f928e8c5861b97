"""Lock files, which show whether an instance lives: each is locked until its instance ends.

The lock belongs to the open file. Children inherit it through fork, commands do not; the kernel
frees it when the last process of the instance has ended. Never derive liveness from a pid or from
an age, and never take the path of a lock file from the database.

`instance_files` is the path with which the names of an instance's files begin (see `Engine`); for
SQLite it is the path of the database.
"""

import errno
import fcntl
import os
import re
import stat
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from queued.core.errors import StorageError, WaitTimeoutError
from queued.core.run_note_layout import IDENTITY_AT, IDENTITY_BYTES, identity
from queued.core.times import NEVER_S, boot_id, monotonic_s
from queued.store import permissions

SUFFIX = ".lock"
_HIGH = 200  # above those of scripts; each fork copies a table up to the highest
_FLOCK = struct.Struct("hhqqi")  # type, whence, start, length, pid
_NO_LOCK_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})
_MAX_SLEEP_S = 0.1
# The locks, as /proc/PID/fdinfo shows them.
_INSTANCE_LOCK = "FLOCK ADVISORY WRITE"
_SHARED_LOCK = "FLOCK ADVISORY READ"
_RUNS_LOCK = "OFDLCK ADVISORY READ"
_ID = re.compile("[0-9a-z]{1,64}")


def path_of(instance_files: str, instance: str) -> str:
    """Returns the path of an instance's lock file. Raises ValueError if `instance` is no id."""
    if _ID.fullmatch(instance) is None:
        msg = f"{instance!r} is not the id of an instance"
        raise ValueError(msg)
    return f"{instance_files}.{instance}{SUFFIX}"


def database_of(path: str) -> str | None:
    """Returns the database to which a lock file of this name belongs; None if it is no such name.

    The inverse of `path_of`; looks at no file.
    """
    database, _, instance = path.removesuffix(SUFFIX).rpartition(".")
    return database if path.endswith(SUFFIX) and _ID.fullmatch(instance) else None


def scope(instance_files: str) -> str:
    """Returns a name that differs for instances that cannot see the locks of each other.

    They run on different hosts, in different boots of a host, or in different containers, or keep
    their files in different places. A copy of a host's disk has another boot.
    """
    namespace, directory = os.stat("/proc/self/ns/pid"), os.stat(os.path.dirname(instance_files))
    place = f"{directory.st_dev}:{directory.st_ino}:{os.path.basename(instance_files)}"
    return f"{boot_id()}:{namespace.st_ino}:{place}"


def create_locked(path: str) -> int:
    """Creates and locks the file; returns its descriptor. Raises StorageError."""
    try:
        descriptor = permissions.make_file(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(descriptor, identity(descriptor), IDENTITY_AT)
    except OSError as error:
        msg = f"cannot create {path}: {error.strerror}; the directory must be writable"
        raise StorageError(msg) from None
    return descriptor


def is_copy(descriptor: int) -> bool:
    """Returns whether the lock file was copied, so that its lock tells nothing of its instance."""
    found = os.pread(descriptor, IDENTITY_BYTES, IDENTITY_AT)
    return found != identity(descriptor)


def hold_for_runs(descriptor: int) -> int:
    """Takes the second lock on the lock file, which the commands of all runs inherit.

    Returns its descriptor, which is read-only and has a high number, so that commands do not use
    the number for files of their own. The lock is free when every process that inherited it has
    ended, also processes of other users and in other pid namespaces. Raises OSError.
    """
    import resource

    opened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, min(_HIGH, soft_limit - 1))
    finally:
        os.close(opened)


def runs_alive(descriptor: int) -> bool:
    """Returns whether a process holds the lock that runs inherit. `descriptor`: see `open_lock`."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def holders_of_runs_lock(instance_files: str, instance: str) -> set[int]:
    """Returns the pids of processes that hold the second lock of this instance (`hold_for_runs`).

    Finds only processes whose open files this user may read. Reads /proc only, because access to
    another file system may hang.
    """
    return _pids(instance_files, instance, _RUNS_LOCK)


def holders_of_shared_lock(instance_files: str, instance: str) -> set[int]:
    """Returns the pids of processes with a shared lock on the lock file of this instance.

    Finds only processes whose open files this user may read.
    """
    return _pids(instance_files, instance, _SHARED_LOCK)


def _pids(instance_files: str, instance: str, lock: str) -> set[int]:
    name = os.path.basename(path_of(instance_files, instance))
    pattern = re.compile(rf".*/{re.escape(name)}(?: \(deleted\))?", re.DOTALL)
    return {holder.pid for holder in _holders(pattern, lock)}


def is_in_place(path: str, descriptor: int) -> bool:
    """Returns whether `path` still names the file that `descriptor` has open."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def open_lock(instance_files: str, instance: str) -> int | None:
    """Opens another instance's lock file; returns the descriptor, None if there is no such file.

    Only a regular file is opened: a FIFO or a device put in its place must not be touched.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        path = path_of(instance_files, instance)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        return os.open(path, flags)
    except ValueError:
        return None
    except OSError as error:
        if error.errno in _NO_LOCK_FILE:
            return None
        raise


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Locks the file that `open_lock` opened; returns False if its instance holds the lock."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_alive(instance_files: str, instance: str) -> bool:
    """Returns whether any process of the instance lives.

    A missing lock file does not show that the instance has ended, because the file of a living
    instance may have been deleted.
    """
    descriptor = open_lock(instance_files, instance)
    try:
        return not _is_dead(descriptor, instance_files, instance)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def living(instance_files: str) -> list[str]:
    """Returns the ids of the instances that serve the database; reads only their lock files."""
    found = with_lock_file(instance_files)
    locked = {instance for instance in found if is_alive(instance_files, instance)}
    return sorted(locked | holders_of_deleted(instance_files))


def with_lock_file(instance_files: str) -> list[str]:
    """Returns the ids of the instances that have a lock file beside the database."""
    directory, name = os.path.split(instance_files)
    pattern = re.compile(rf"{re.escape(name)}\.({_ID.pattern}){re.escape(SUFFIX)}")
    return [match[1] for entry in os.listdir(directory) if (match := pattern.fullmatch(entry))]


def holders_of_deleted(instance_files: str) -> set[str]:
    """Returns the ids of instances whose lock file was deleted while they hold it.

    Reads the open files of every process for which this user has the permission.
    """
    pattern = re.compile(
        rf"{re.escape(instance_files)}\.({_ID.pattern}){re.escape(SUFFIX)} \(deleted\)"
    )
    return {holder.path[1] for holder in _holders(pattern, _INSTANCE_LOCK)}


def holders_anywhere(instance: str) -> set[int]:
    """Returns the pids of the processes that hold the lock of an instance, wherever its file is.

    The file may have been deleted, moved, or copied with its database. Finds only processes whose
    open files this user may read.
    """
    name = re.escape(f".{instance}{SUFFIX}")
    pattern = re.compile(rf".*{name}(?: \(deleted\))?", re.DOTALL)
    return {holder.pid for holder in _holders(pattern, _INSTANCE_LOCK)}


class _Holder(NamedTuple):
    """A process that holds a lock, and the match of the pattern with the locked file's path."""

    pid: int
    path: re.Match[str]


def _holders(pattern: re.Pattern[str], lock: str) -> Iterator[_Holder]:
    """Yields the processes that hold a lock of this kind (see proc_locks(5)) on a matching file."""
    own = str(os.getpid())  # a rescuer locks the files of dead instances
    for pid in filter(lambda name: name.isdecimal() and name != own, os.listdir("/proc")):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                match = pattern.fullmatch(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                if match is not None and _has_lock(pid, descriptor, lock):
                    yield _Holder(int(pid), match)
        except OSError:
            continue  # the process has ended, or belongs to another user


def _has_lock(pid: str, descriptor: str, lock: str) -> bool:
    """Returns whether the open file has that lock; the shared lock of `is_alive` is another."""
    with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as file:
        return any(line.split()[2:5] == lock.split() for line in file)


def wait_until_dead(instance_files: str, instance: str, timeout_s: float | None) -> None:
    """Waits until no process of the instance lives. Raises WaitTimeoutError after `timeout_s`."""
    end_s = NEVER_S if timeout_s is None else monotonic_s() + timeout_s
    sleep_s = 0.001
    # Opened once, because the instance deletes the file as it ends.
    descriptor = open_lock(instance_files, instance)
    try:
        while not _is_dead(descriptor, instance_files, instance):
            left_s = end_s - monotonic_s()
            if left_s <= 0:
                raise WaitTimeoutError
            time.sleep(min(sleep_s, left_s))
            sleep_s = min(2 * sleep_s, _MAX_SLEEP_S)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is_dead(descriptor: int | None, instance_files: str, instance: str) -> bool:
    is_free = descriptor is None or try_lock(descriptor, shared=True)
    return is_free and instance not in holders_of_deleted(instance_files)


def remove(path: str) -> None:
    """Deletes a lock file that is no longer needed; does nothing if the file does not exist."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
