"""Brings a database to the schema of this program, one numbered file at a time.

Each file runs in one transaction together with its number (`user_version`), so an interrupted
upgrade is as if it had not begun. A newer schema and a file that is not ours are refused and
not touched.
"""

import os
from collections.abc import Callable
from itertools import count

import apsw

from queued.core.errors import DatabaseUnusableError

APPLICATION_ID = 0x71756564  # "qued", where file(1) and we look
_MIGRATIONS = os.path.join(os.path.dirname(__file__), "sql", "sqlite", "migrations")


def latest() -> int:
    """The number of the newest schema that this program knows."""
    return len(_files())


def migrate(connection: apsw.Connection, path: str, patience: Callable[[int], bool]) -> None:
    """Applies what is missing. `patience` says after so many tries whether to try again."""
    version = check(connection, path)
    if version == 0:
        _switch_to_wal(connection, path, patience)
    for number, name in enumerate(_files()[version:], version + 1):
        _apply(connection, number, name)


def check(connection: apsw.Connection, path: str) -> int:
    """The schema version of the file, 0 for an empty one. Reads only.

    Raises DatabaseUnusableError if the file is newer or not ours. All is read in one view, or a
    database that another process is just making would look like a foreign one.
    """
    with connection:
        application = connection.pragma("application_id")
        version = int(connection.pragma("user_version"))
        empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
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


def _switch_to_wal(connection: apsw.Connection, path: str, patience: Callable[[int], bool]) -> None:
    """Turns WAL on, for good. It cannot be done inside a transaction.

    SQLite asks no busy handler here: two processes that make the same database would meet.
    """
    for tries in count():
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if not patience(tries):
                raise
        else:
            break
    if mode != "wal":
        msg = (
            f"{path} lies where SQLite has no shared memory; give a path on a local disk with --db"
        )
        raise DatabaseUnusableError(msg)


def _apply(connection: apsw.Connection, number: int, name: str) -> None:
    """One migration, unless another process was faster; seen under the write lock."""
    with open(os.path.join(_MIGRATIONS, name), encoding="utf-8") as file:
        statements = file.read()
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.pragma("user_version") < number:
            connection.execute(statements)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", number)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _files() -> list[str]:
    return sorted(name for name in os.listdir(_MIGRATIONS) if name.endswith(".sql"))
