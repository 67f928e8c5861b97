"""Backup, restore and vacuum of a database.

A backup gets its name when it is complete, checked and on the disk. A restore is one transaction on
the database itself, so that processes that have it open see the restored content. If SQLite cannot
read the database, the restore replaces the file by an atomic rename.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

import apsw

from queued.core.errors import BusyError, ConflictError, DatabaseUnusableError, UsageError
from queued.store import instance_lock, permissions, queue_copy
from queued.store.engine import DatabaseSizes
from queued.store.sqlite import schema
from queued.store.sqlite.connection import wal_bytes
from queued.store.sqlite.error_names import named_errors
from queued.store.sqlite.maintenance import atomic_rename, open_existing, temporary_file
from queued.store.sqlite.terminal_stops import delayed_stops

Patient = Callable[[int], bool]
Fill = Callable[[apsw.Connection], None]  # fills a new database
_SIDES = ("-wal", "-shm", "-journal")


def backup(path: str, target: str, busy_handler: Patient, *, replace: bool = False) -> int:
    """Writes a copy of the database as it is at one moment, while other processes write to it.

    Returns its size in bytes. The copy has no side files, and the mode of new files there.
    Raises ConflictError if `target` exists and may not be replaced.
    """
    with permissions.acting_as_owner(target):
        _check_target(path, target, replace=replace)
    with open_existing.opened(path, busy_handler) as source:
        # In a read transaction SQLite opens no more files, which it could not open as another user.
        source.execute("BEGIN")
        source.pragma("user_version")
        with permissions.acting_as_owner(target):
            write(source, target, replace=replace)
            return os.stat(target).st_size


def write_rows(fill: Fill, target: str, *, replace: bool = False) -> int:
    """Writes a file that `fill` fills, with the same checks as `backup`; returns its size."""
    with permissions.acting_as_owner(target):
        _check_target(None, target, replace=replace)
        _write(fill, target, check=False, replace=replace)
        return os.stat(target).st_size


def _check_target(path: str | None, target: str, *, replace: bool) -> None:
    if (database := _database_of(target)) is not None:
        msg = f"{target} is the name of a file that belongs to {database}; choose another name"
        raise UsageError(msg)
    if not os.path.lexists(target):
        return
    if not stat.S_ISREG(os.lstat(target).st_mode):
        msg = f"{target} is not a regular file; choose another name"
        raise UsageError(msg)
    if path and any(_same(f"{path}{side}", target) for side in ("", *_SIDES)):
        msg = f"{target} is the database itself"
        raise UsageError(msg)
    if not replace:
        raise _taken(target)
    if instance_lock.living(target) or _unfinished(target):
        msg = f"{target} is a database in use, or has a {target}-wal; choose another name"
        raise BusyError(msg)


def _database_of(path: str) -> str | None:
    """Returns the existing database that would take a file of this name for its own; or None."""
    databases = [path.removesuffix(side) for side in _SIDES if path.endswith(side)]
    if (locked := instance_lock.database_of(path)) is not None:
        databases.append(locked)
    return next(filter(os.path.exists, databases), None)


def _unfinished(path: str) -> bool:
    """Returns whether the file has a WAL: it is in use, or its last process was killed."""
    return wal_bytes(path) > 0


def _taken(target: str) -> ConflictError:
    return ConflictError(f"{target} exists already; choose another name, or add --force")


def _same(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.samefile(one, other)


def write(
    source: apsw.Connection, target: str, *, check: bool = True, replace: bool = True
) -> None:
    """Writes a copy of all that `source` sees to a file that appears when it is complete."""
    _write(partial(_copy, source), target, check=check, replace=replace)


def _write(fill: Fill, target: str, *, check: bool, replace: bool) -> None:
    with _written(fill, target, check=check) as new:
        if replace:
            os.rename(new, target)
            return
        try:
            atomic_rename.rename_to_free(new, target)
        except FileExistsError:
            raise _taken(target) from None


@contextmanager
def _written(fill: Fill, target: str, *, check: bool) -> Iterator[str]:
    """A complete file beside `target`, which the caller renames; syncs the directory at the end."""
    directory = os.path.dirname(target)
    with named_errors(target), temporary_file.created(directory) as new:
        _fill(new, fill, check=check)
        yield new
        _sync_directory(directory)


def _fill(new: str, fill: Fill, *, check: bool) -> None:
    copy = apsw.Connection(new, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # Without a journal: a file that is not complete is deleted, not rolled back.
        copy.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL").fetchall()
        fill(copy)
    finally:
        copy.close()
    if check:
        try:
            must_be_good(new)
        except DatabaseUnusableError:
            msg = "the database is damaged (see: queuectl db check); no copy was made"
            raise DatabaseUnusableError(msg) from None


def _copy(source: apsw.Connection, target: apsw.Connection) -> None:
    """Copies all pages in one step. Between steps, a commit of another process would restart it."""
    with target.backup("main", source, "main") as copying:
        copying.step(-1)


def must_be_good(path: str) -> None:
    """Raises DatabaseUnusableError if the file, which no process uses, is damaged or not ours."""
    with _reading(path) as connection:
        open_existing.must_be_ours(connection, path)
        found = str(connection.execute("PRAGMA integrity_check(1)").get)
    if found != "ok":
        msg = f"{path} is damaged ({found.splitlines()[-1]}); nothing was changed"
        raise DatabaseUnusableError(msg)


@contextmanager
def _reading(path: str) -> Iterator[apsw.Connection]:
    """Opens a file that no process uses for reading; SQLite makes no other file beside it."""
    from urllib.parse import quote

    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with named_errors(path):
        # The owner opens the file, because a link could name a file that only root may read.
        with permissions.acting_as_owner(path, read_all=False):
            connection = apsw.Connection(f"file:{quote(path)}?mode=ro&immutable=1", flags=flags)
        try:
            yield connection
        finally:
            connection.close()


def restore(path: str, source: str, backup_path: str, busy_handler: Patient) -> bool:
    """Replaces the content of the database by that of the backup `source`.

    Returns whether there was a database; a backup of it is then at `backup_path`. Raises BusyError
    while an instance lives on it.
    """
    with permissions.acting_as_owner(source):
        _check_source(path, source)
    must_be_idle(path)
    if os.path.exists(path):
        try:
            _overwrite(path, source, backup_path, busy_handler)
        except DatabaseUnusableError:
            pass
        else:
            return True
    permissions.make_directory(os.path.dirname(path))
    with _reading(source) as connection:
        replaced = _replace(path, partial(_copy, connection), backup_path)
    with _opened_to_overwrite(path, busy_handler) as restored:
        restored.execute("PRAGMA journal_mode = WAL")  # the file has the mode of the backup
    return replaced


def _replace(path: str, fill: Fill, backup_path: str) -> bool:
    """Replaces a file that SQLite cannot read by another file, in one step.

    The path names a file at every moment, because otherwise another process could create an empty
    database and enqueue to it. The old WAL is moved away first, because SQLite would apply it to
    the new file.
    """
    there = os.path.exists(path)
    with _written(fill, path, check=True) as new:
        if there:
            _keep(path, backup_path)
        sides = [side for side in _SIDES if os.path.exists(path + side)]
        for side in sides:
            os.rename(path + side, backup_path + side)
        _sync_directory(os.path.dirname(path))
        if there:
            os.rename(new, path)
            return True
        try:
            atomic_rename.rename_to_free(new, path)
        except FileExistsError:
            msg = f"another program has just made {path}; stop the program, and try again"
            raise BusyError(msg) from None
    return bool(sides)


def _keep(path: str, backup_path: str) -> None:
    """Gives the file a second name, or renames it if the file system has no hard links."""
    if _same(backup_path, path):
        return
    _remove(backup_path)  # left by the failed attempt to overwrite the database
    try:
        os.link(path, backup_path)
    except OSError:
        os.rename(path, backup_path)


def _check_source(path: str, source: str) -> None:
    open_existing.must_be_file(source)
    if _same(path, source):
        msg = f"{source} is the database itself"
        raise UsageError(msg)
    if _unfinished(source):
        msg = f"{source} is in use, or lacks its {source}-wal; give a file made by `db backup`"
        raise DatabaseUnusableError(msg)
    must_be_good(source)


def must_be_idle(path: str) -> None:
    """Raises BusyError if an instance lives on the database."""
    permissions.check_database(path)
    if os.path.isdir(os.path.dirname(path)):
        queue_copy.must_be_idle(path, instance_lock.living(path))


def _overwrite(path: str, source: str, backup_path: str, busy_handler: Patient) -> None:
    """Overwrites all pages in one transaction, so that a crash leaves the old content or the new.

    The backup is made under the write lock: it has every commit that the restore overwrites.
    """
    with (
        _opened_to_overwrite(path, busy_handler) as target,
        _opened_to_overwrite(path, busy_handler) as old,
    ):
        target.execute("PRAGMA journal_mode = WAL")  # in other modes `old` could not read below
        with _reading(source) as connection, target.backup("main", connection, "main") as copying:
            copying.step(1)  # takes the write lock, so that an instance that starts now waits
            must_be_idle(path)
            write(old, backup_path, check=False)
            copying.step(-1)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _opened_to_overwrite(
    path: str, busy_handler: Patient
) -> AbstractContextManager[apsw.Connection]:
    return open_existing.opened(path, busy_handler, refuse=_must_not_be_foreign)


def _must_not_be_foreign(connection: apsw.Connection, path: str) -> None:
    """Raises UsageError for another program's file; accepts any schema of queued."""
    if connection.pragma("application_id") == schema.APPLICATION_ID:
        return
    if connection.execute("SELECT count(*) FROM sqlite_schema").get:
        msg = f"{path} is a database of another program; it is not replaced"
        raise UsageError(msg)


def vacuum(path: str, busy_handler: Patient) -> DatabaseSizes:
    """Gives unused pages of the file back to the file system.

    Other processes may use the database meanwhile; those that write wait.
    """
    with open_existing.opened(path, busy_handler) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        before = os.stat(path).st_size
        with delayed_stops():
            connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return DatabaseSizes(before, os.stat(path).st_size)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
