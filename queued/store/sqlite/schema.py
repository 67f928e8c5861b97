"""Brings a database to the schema of this program, one numbered file at a time.

All that is missing runs in one transaction together with the new number (`user_version`), so an
interrupted upgrade is as if it had not begun. A newer schema and a file that is not ours are
refused and not touched.
"""

import os
from collections.abc import Callable
from itertools import count

import apsw

from queued.core.errors import DatabaseUnusableError

APPLICATION_ID = 0x71756564  # "qued", where file(1) and we look
Patient = Callable[[int], bool]
_MIGRATIONS = os.path.join(os.path.dirname(__file__), "migrations")


def latest() -> int:
    """The number of the newest schema that this program knows."""
    return len(_files())


def migrate(connection: apsw.Connection, path: str, busy_handler: Patient) -> str | None:
    """Applies what is missing, all in one transaction; the backup that was made before, if any.

    `patience` says after so many tries whether to try again. Raises DatabaseUnusableError while
    an older service lives on the database. Foreign keys must be off: a table that is rebuilt
    would take its children along.
    """
    if check(connection, path) == 0:
        _switch_to_wal(connection, path, busy_handler)
    connection.execute("BEGIN IMMEDIATE")
    try:
        kept = _upgrade(connection, path, busy_handler)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return kept


def _upgrade(connection: apsw.Connection, path: str, busy_handler: Patient) -> str | None:
    """Under the write lock, so that only one does it; another may have been faster."""
    version = connection.pragma("user_version")
    names = _files()[version:]
    if not names:
        return None
    kept = _keep(path, version, busy_handler) if version else None
    for name in names:
        connection.execute(_statements(name)).fetchall()
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", latest())
    if version and connection.execute("PRAGMA foreign_key_check").fetchall():
        msg = f"{path} has rows that belong to nothing (see: queuectl db check --full)"
        raise DatabaseUnusableError(msg)
    return kept


def _keep(path: str, version: int, busy_handler: Patient) -> str:
    """Makes a backup before an upgrade; nobody can write meanwhile."""
    from queued.store.sqlite.maintenance import backup, open_existing

    if living := open_existing.alive(path):
        msg = (
            f"{path} has schema {version}, and a service runs on it that knows no newer "
            f"({', '.join(living)}); restart it with this version first"
        )
        raise DatabaseUnusableError(msg)
    kept = f"{path}.schema{version}.bak"
    with open_existing.opened(path, busy_handler) as source:
        backup.write(source, kept)
    return kept


def check(connection: apsw.Connection, path: str) -> int:
    """The schema version of the file, 0 for an empty one. Reads only.

    Raises DatabaseUnusableError if the file is newer or not ours. All is read in one view, or a
    database that another process is just making would look like a foreign one.
    """
    connection.execute("BEGIN")  # no savepoint: going back to one hides the error of a bad disk
    try:
        application = connection.pragma("application_id")
        version = int(connection.pragma("user_version"))
        empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    fresh = (application, version, empty) == (0, 0, True)
    if application != APPLICATION_ID and not fresh:
        msg = f"{path} is a database of another program; give another path with --db"
        raise DatabaseUnusableError(msg)
    if version > latest():
        msg = (
            f"{path} has schema {version}, newer than the {latest()} that this program knows; "
            "upgrade queued on this machine"
        )
        raise DatabaseUnusableError(msg)
    return version


def is_intact(path: str) -> bool:
    """Whether the schema is what its number says; to be asked where a statement has failed."""
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return differs(connection) is None
        finally:
            connection.close()
    except apsw.CantOpenError:
        return True
    except (apsw.Error, UnicodeDecodeError):
        return False


def differs(connection: apsw.Connection) -> str | None:
    """The first thing of the schema that is not as the migrations up to its number make it."""
    model = apsw.Connection(":memory:")
    for name in _files()[: connection.pragma("user_version")]:
        model.execute(_statements(name)).fetchall()
    listing = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
    expected, found = ({*one.execute(listing)} for one in (model, connection))
    model.close()
    return next((f"{row[0]} {row[1]}" for row in sorted(expected ^ found, key=str)), None)


def _statements(name: str) -> str:
    with open(os.path.join(_MIGRATIONS, name), encoding="utf-8") as file:
        return file.read()


def _switch_to_wal(connection: apsw.Connection, path: str, busy_handler: Patient) -> None:
    """Turns WAL on, for good. It cannot be done inside a transaction.

    SQLite asks no busy handler here: two processes that make the same database would meet.
    """
    for tries in count():
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if not busy_handler(tries):
                raise
        else:
            break
    if mode != "wal":
        msg = (
            f"{path} lies where SQLite has no shared memory; give a path on a local disk with --db"
        )
        raise DatabaseUnusableError(msg)


def _files() -> list[str]:
    return sorted(name for name in os.listdir(_MIGRATIONS) if name.endswith(".sql"))
