"""Checks the owners and modes of a database's files, and sets those of new files.

A user who can write the database can run commands as the service's user, so files that other users
can write are refused. The directory's mode tells two kinds of installation apart: private (0700,
files 0600), and shared by a group (2770, files 0660) whose members trust each other.

In a directory of another user, root works with the rights of that user only. Symbolic links,
journals and devices in that directory then give access only to what the user may access anyway.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from queued.core.errors import ConfigError, DeniedError, QueuedError, StorageError

_SHARED = stat.S_ISGID | stat.S_IWGRP
_SIDES = ("", "-wal", "-shm", "-journal")
# No chmod of the directory that is there: it may be /tmp.
_OWN_DIRECTORY = "keep the database in a directory of its own: mode 0700, or 2770 for a group"
_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_READ_SEARCH = 1 << 2
_MOST_LINKS = 40  # the value in the kernel's headers


def _shared(found: os.stat_result) -> bool:
    return found.st_mode & _SHARED == _SHARED


def make_directory(path: str) -> None:
    """Makes a directory and its missing parents; existing ones are not changed.

    Its group may use it if the directory above is shared by a group, whatever the umask is.
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_directory(above)
    mode = 0o2770 if _shared(os.stat(above)) else 0o700
    try:
        os.mkdir(path, mode & 0o777)
    except FileExistsError:
        return
    with opened_directory(path) as descriptor:
        os.fchmod(descriptor, mode)
    with opened_directory(above) as descriptor:
        os.fsync(descriptor)  # SQLite syncs the names of its own files only


@contextmanager
def opened_directory(path: str) -> Iterator[int]:
    """Opens a directory, which must not be a symbolic link, for the time of a `with` block."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_file(path: str, flags: int) -> int:
    """Makes a file; returns its descriptor. Its group may use it if the directory is shared.

    Raises FileExistsError.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o660 if _shared(os.stat(os.path.dirname(path))) else 0o600)
    return descriptor


def foreign_directory(path: str) -> str | None:
    """Returns the first directory on the way to `path` that does not belong to root.

    `path` is absolute. Returns None if all directories belong to root, or if one is missing.
    Symbolic links are followed up to that directory and not inside it, because its owner can
    change what is in it. Raises DeniedError for a symbolic link of another user in a directory of
    root, such as /tmp.
    """
    at, ahead, links = "/", path.split("/")[::-1], 0
    while ahead and os.path.isdir(at):
        if os.stat(at).st_uid != 0:
            return at
        name = ahead.pop()
        step = os.path.normpath(os.path.join(at, name))
        if name == ".." or not os.path.islink(step):
            at = step
            continue
        owner, links = os.lstat(step).st_uid, links + 1
        if owner != 0 or links > _MOST_LINKS:
            remedy = "give the path that it leads to"
            raise _denied(step, f"it is a symbolic link of the user {_user(owner)}", remedy)
        target = os.readlink(step)
        at = "/" if target.startswith("/") else at
        ahead += target.split("/")[::-1]
    return None


def must_be_own(path: str) -> None:
    """Raises DeniedError for root if the path leads through a directory of another user."""
    if os.geteuid() == 0 and (directory := foreign_directory(path)) is not None:
        raise _not_ours(directory, os.stat(directory))


def act_as_owner(path: str, *, read_all: bool = True) -> None:
    """Takes the rights of the other user if root's path leads through a directory of that user.

    Only the effective ids change. With `read_all` the right to read every file stays, because
    modules that are imported later may be readable by root only. Raises DeniedError if the ids
    cannot be changed.
    """
    if os.geteuid() != 0 or (directory := foreign_directory(path)) is None:
        return
    import ctypes  # before the change of ids, because the import may need root's rights

    found = os.stat(directory)
    groups = _groups_of(found)
    try:
        os.setgroups(groups)
        os.setegid(groups[0])
        os.seteuid(found.st_uid)
    except PermissionError:
        raise _not_ours(directory, found) from None
    if not read_all:
        return
    # CAP_DAC_READ_SEARCH, which the change of ids removed from the effective set.
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice, of 32 bits each
    if libc.capget(header, sets) == 0:
        sets[0] = sets[1] & _CAP_DAC_READ_SEARCH
        libc.capset(header, sets)


@contextmanager
def acting_as_owner(path: str, *, read_all: bool = True) -> Iterator[None]:
    """A context with the rights of `act_as_owner` for another path, which the user named.

    Without `read_all` nothing may be imported in it. The rights of the process at its start are the
    basis, also after `act_as_owner`.
    """
    user, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    if os.getuid() != 0:
        yield
        return
    os.seteuid(0)
    os.setegid(os.getgid())
    os.setgroups([])
    try:
        act_as_owner(path, read_all=read_all)
        yield
    finally:
        os.seteuid(0)
        os.setgroups(groups)
        os.setegid(group)
        os.seteuid(user)


def _groups_of(found: os.stat_result) -> list[int]:
    """Returns the groups of the file's owner, the primary one first."""
    from pwd import getpwuid

    try:
        owner = getpwuid(found.st_uid)
    except KeyError:
        return [found.st_gid]
    groups = os.getgrouplist(owner.pw_name, owner.pw_gid)
    return [owner.pw_gid, *(group for group in groups if group != owner.pw_gid)]


def check_database(path: str, *, serving: bool = False, reading: bool = False) -> None:
    """Raises DeniedError if the directory, the database or a side file cannot be trusted.

    Raises StorageError if the file system is read-only.

    `serving`: the caller is a service, which runs commands for every user who can write the
    database. A service must own the directory; members of the group, and root, may use queuectl.
    `reading`: the caller writes nothing, so that the files may belong to any user.
    """
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    try:
        above = os.stat(directory)
    except OSError:
        return
    if not stat.S_ISDIR(above.st_mode):
        return  # creating the database in it reports the error
    _check_directory(directory, above, serving=serving, reading=reading)
    for side in _SIDES:
        _check_file(f"{path}{side}", above, serving=serving, reading=reading)


def _check_directory(path: str, found: os.stat_result, *, serving: bool, reading: bool) -> None:
    if found.st_mode & stat.S_IWOTH:
        raise _denied(path, "everybody can write it", _OWN_DIRECTORY)
    if found.st_mode & stat.S_IWGRP and not _shared(found):
        raise _denied(path, "its group can write it", _OWN_DIRECTORY)
    guest = not serving and (os.geteuid() == 0 or (_shared(found) and _member(found.st_gid)))
    if found.st_uid not in (0, os.geteuid()) and not (guest or reading):
        raise _not_ours(path, found, serving=serving)


def _check_file(path: str, directory: os.stat_result, *, serving: bool, reading: bool) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if stat.S_ISFIFO(found.st_mode) and path.endswith(_SIDES[1:]):  # SQLite would wait in open(2)
        raise _denied(path, "it is not a regular file", "move it away")
    if not stat.S_ISREG(found.st_mode):
        return  # opening it reports the error
    if found.st_mode & stat.S_IWOTH:
        raise _denied(path, "everybody can write it", f"chmod o-w {path}")
    shared = _shared(directory) and found.st_gid == directory.st_gid
    if found.st_mode & stat.S_IWGRP and not shared:
        raise _denied(path, "its group can write it", f"chmod g-w {path}")
    if reading:
        return
    guest = shared or (not serving and os.geteuid() == 0)
    if found.st_uid not in (0, os.geteuid()) and not guest:
        raise _not_ours(path, found)
    if not _usable(path):
        must_not_be_read_only(path)
        owner = f"{_user(found.st_uid)}'s, with mode {stat.S_IMODE(found.st_mode):04o}"
        msg = f"no permission to write {path}: it is {owner}, and we run as {_user(os.geteuid())}"
        raise DeniedError(msg)


def must_not_be_read_only(path: str) -> None:
    """Raises StorageError if the file system is read-only: a change of modes does not help then."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        reason = "its file system is read-only; see the kernel's log, and remount it"
        msg = f"cannot write {path}: {reason}"
        raise StorageError(msg)


def _usable(path: str) -> bool:
    """Returns whether a file may be written; true also if another process has just removed it."""
    allowed = os.R_OK | os.W_OK
    return _may(path, allowed) or not os.path.exists(path) or _may(path, allowed)


def _may(path: str, allowed: int) -> bool:
    return os.access(path, allowed, effective_ids=True)


def open_conf(path: str) -> int:
    """Opens the conf file for reading; returns the descriptor.

    Raises ConfigError if it is a FIFO, a device or a socket. Raises DeniedError if a user other
    than its owner, or an owner that is neither this user nor root, can write it. The check uses the
    open descriptor, because the path may name another file meanwhile.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    error: QueuedError | None = None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        error = ConfigError(f"cannot read {path}: it is not a regular file")
    elif found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        error = _denied(path, "others than its owner can write it", f"chmod go-w {path}")
    elif found.st_uid not in (0, os.geteuid()):
        error = _not_ours(path, found)
    if error is not None:
        os.close(descriptor)
        raise error
    return descriptor


def _member(group: int) -> bool:
    return group == os.getegid() or group in os.getgroups()


def _denied(path: str, reason: str, remedy: str) -> DeniedError:
    return DeniedError(f"{path} is refused: {reason} ({remedy})")


def _not_ours(path: str, found: os.stat_result, *, serving: bool = False) -> DeniedError:
    owner, us = _user(found.st_uid), _user(os.geteuid())
    remedy = f"run as {owner}, or change its owner"
    if stat.S_ISDIR(found.st_mode) and _shared(found) and not serving:
        remedy = f"run as {owner}, or as a member of the group {_group(found.st_gid)}"
    return _denied(path, f"it belongs to the user {owner}, we run as {us}", remedy)


def _user(uid: int) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    from grp import getgrgid

    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
