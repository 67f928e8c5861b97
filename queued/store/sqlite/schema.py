"""The schema of the database: its number, the application id, and a check of a file.

The schema is the sum of the numbered files in `migrations/`; the number of the last file that was
applied is the file's `user_version`. This module only reads.
"""

import os
from typing import TYPE_CHECKING

import apsw

from queued.core.errors import DatabaseUnusableError

if TYPE_CHECKING:
    from queued.store.move_mark import MoveMark

APPLICATION_ID = 0x71756564  # "qued"; file(1) shows it; it marks a database of queued
MIGRATIONS = os.path.join(os.path.dirname(__file__), "migrations")


def latest() -> int:
    """Returns the number of the newest schema that this program knows."""
    return len(files())


def files() -> list[str]:
    """Returns the names of the migrations in the order in which they are applied."""
    return sorted(name for name in os.listdir(MIGRATIONS) if name.endswith(".sql"))


def statements(name: str) -> str:
    """Returns the SQL text of a migration."""
    with open(os.path.join(MIGRATIONS, name), encoding="utf-8") as file:
        return file.read()


def check(connection: apsw.Connection, path: str) -> int:
    """Returns the schema number of the file, 0 for an empty one.

    Raises DatabaseUnusableError if the file is newer, of another program, or moved. All reads are
    in one transaction, because a database that another process is creating at the same time would
    otherwise be taken for one of another program.
    """
    newest = latest()
    connection.execute("BEGIN")  # no savepoint, because a rollback to it would hide a disk error
    try:
        application = connection.pragma("application_id")
        version = int(connection.pragma("user_version"))
        empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
        moved = mark(connection) if version > newest else None
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    fresh = (application, version, empty) == (0, 0, True)
    if application != APPLICATION_ID and not fresh:
        msg = f"{path} is a database of another program; give another path with --db"
        raise DatabaseUnusableError(msg)
    if moved is not None:
        raise moved.refusal(path)
    must_be_known(version, path)
    return version


def must_be_known(version: int, path: str) -> None:
    """Raises DatabaseUnusableError if a newer program has upgraded the file."""
    if version > latest():
        msg = (
            f"{path} has schema {version}, newer than the {latest()} that this program knows; "
            "upgrade queued on this machine"
        )
        raise DatabaseUnusableError(msg)


def mark(connection: apsw.Connection) -> "MoveMark | None":
    """Returns the mark of a queue that was moved, or whose move is not finished; else None."""
    from queued.store.move_mark import CLOSED, MoveMark  # not at the start of each command

    if connection.pragma("user_version") != CLOSED:
        return None
    gone, place, host = connection.execute("SELECT gone, place, host FROM moved").get
    return MoveMark(bool(gone), place, host)


def is_intact(path: str) -> bool:
    """Returns whether the schema is that of its number; for use after a statement has failed."""
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
    """Returns the first table, index or trigger that differs from what the migrations make.

    The statistics of ANALYZE do not count.
    """
    model = apsw.Connection(":memory:")
    for name in files()[: connection.pragma("user_version")]:
        model.execute(statements(name)).fetchall()
    listing = (
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat_'"
    )
    expected, found = ({*one.execute(listing)} for one in (model, connection))
    model.close()
    return next((f"{row[0]} {row[1]}" for row in sorted(expected ^ found, key=str)), None)
