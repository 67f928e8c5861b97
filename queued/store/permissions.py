"""Whom the database's files may belong to, who may write them, and the modes of what we make.

Whoever can write the database runs commands as the service's user, so what others can write is
refused. Two kinds of installation are told apart by the directory's mode: private (0700, files
0600), and one for a group (2770, files 0660), whose members are trusted with each other's files.
"""

import os
import stat
from typing import NamedTuple

from queued.core.errors import DeniedError, StorageError

_SHARED = stat.S_ISGID | stat.S_IWGRP
_SIDES = ("", "-wal", "-shm", "-journal")


class Modes(NamedTuple):
    """What everything made in a directory gets, whatever the umask."""

    directory: int
    file: int


def modes_in(directory: str) -> Modes:
    """Those of a group if the directory is a group's, else private."""
    return Modes(0o2770, 0o660) if _shared(os.stat(directory)) else Modes(0o700, 0o600)


def _shared(found: os.stat_result) -> bool:
    return found.st_mode & _SHARED == _SHARED


def make_directory(path: str) -> None:
    """Makes a directory and what is missing above it; what exists is left as it is."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_directory(above)
    mode = modes_in(above).directory
    try:
        os.mkdir(path, mode & 0o777)
    except FileExistsError:
        return
    os.chmod(path, mode)
    _sync(above)


def _sync(directory: str) -> None:
    """Makes the names in a directory survive a power cut; SQLite does that for its own files."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_file(path: str, flags: int) -> int:
    """Makes a file with the mode that its directory asks for; its descriptor, to be closed.

    What root makes in another user's directory belongs to that user. Raises FileExistsError.
    """
    directory = os.stat(os.path.dirname(path))
    # Private until it belongs to whom it should.
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0 != directory.st_uid:
        os.fchown(descriptor, directory.st_uid, directory.st_gid)
    os.fchmod(descriptor, modes_in(os.path.dirname(path)).file)
    return descriptor


def check_database(path: str, *, serving: bool = False) -> None:
    """Raises DeniedError if the directory, the database or a side file cannot be trusted.

    StorageError if it cannot be written because nothing of its file system can.

    `serving`: whether commands are to be run for whoever can write it. Then neither root nor a
    member of the group may serve what belongs to another user; to only look and ask they may.
    """
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    try:
        above = os.stat(directory)
    except OSError:
        return
    if not stat.S_ISDIR(above.st_mode):
        return  # its maker says what is wrong with it
    _check_directory(directory, above, serving=serving)
    for side in _SIDES:
        _check_file(f"{path}{side}", above, serving=serving)


def _check_directory(path: str, found: os.stat_result, *, serving: bool) -> None:
    if found.st_mode & stat.S_IWOTH:
        private = f"give a database in a directory of its own, or: chmod o-w {path}"
        raise _denied(path, "everybody can write it", private)
    if found.st_mode & stat.S_IWGRP and not _shared(found):
        raise _denied(path, "its group can write it", f"chmod g-w {path}, or g+s for a group's")
    guest = not serving and (os.geteuid() == 0 or (_shared(found) and _member(found.st_gid)))
    if found.st_uid not in (0, os.geteuid()) and not guest:
        raise _not_ours(path, found)


def _check_file(path: str, directory: os.stat_result, *, serving: bool) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        return  # its opener says what is wrong with it
    if found.st_mode & stat.S_IWOTH:
        raise _denied(path, "everybody can write it", f"chmod o-w {path}")
    shared = _shared(directory) and found.st_gid == directory.st_gid
    if found.st_mode & stat.S_IWGRP and not shared:
        raise _denied(path, "its group can write it", f"chmod g-w {path}")
    guest = shared or (not serving and os.geteuid() == 0)
    if found.st_uid not in (0, os.geteuid()) and not guest:
        raise _not_ours(path, found)
    if not _usable(path):
        must_not_be_read_only(path)
        owner = f"{_user(found.st_uid)}'s, with mode {stat.S_IMODE(found.st_mode):04o}"
        msg = f"no permission to write {path}: it is {owner}, and we run as {_user(os.geteuid())}"
        raise DeniedError(msg)


def must_not_be_read_only(path: str) -> None:
    """Raises StorageError where no change of owner or mode would help."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        msg = f"the file system of {path} is read-only; remount it, see the kernel's log"
        raise StorageError(msg)


def _usable(path: str) -> bool:
    """Also true where a side file has gone meanwhile, or is there again: others come and go."""
    allowed = os.R_OK | os.W_OK
    return os.access(path, allowed) or not os.path.exists(path) or os.access(path, allowed)


def check_conf(path: str) -> None:
    """Raises DeniedError if anybody but its owner, we or root, can write the conf file."""
    found = os.stat(path)
    if found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        raise _denied(path, "others than its owner can write it", f"chmod go-w {path}")
    if found.st_uid not in (0, os.geteuid()):
        raise _not_ours(path, found)


def _member(group: int) -> bool:
    return group == os.getegid() or group in os.getgroups()


def _denied(path: str, reason: str, remedy: str) -> DeniedError:
    return DeniedError(f"{path} is refused: {reason} ({remedy})")


def _not_ours(path: str, found: os.stat_result) -> DeniedError:
    owner, us = _user(found.st_uid), _user(os.geteuid())
    remedy = f"run as {owner}, or change its owner"
    if stat.S_ISDIR(found.st_mode) and _shared(found):
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
