"""Brings a database to the schema of this program, one numbered file at a time.

All migrations that are missing run in one transaction together with the new number, so that an
interrupted upgrade leaves the database as it was. A backup is made before the transaction.
"""

from collections.abc import Callable
from itertools import count

import apsw

from queued.core.errors import DatabaseUnusableError
from queued.store.sqlite import schema
from queued.store.sqlite.terminal_stops import delayed_stops

Patient = Callable[[int], bool]


def migrate(connection: apsw.Connection, path: str, busy_handler: Patient) -> str | None:
    """Turns WAL on and applies the missing migrations; returns the backup made before, if any.

    `busy_handler` decides after each failed try whether to try again. Raises DatabaseUnusableError
    while a service of an older version lives on the database. Foreign keys must be off, because
    dropping a table that is rebuilt would delete the rows that refer to it.
    """
    if connection.pragma("journal_mode") != "wal":
        _switch_to_wal(connection, path, busy_handler)
    connection.execute("BEGIN IMMEDIATE")
    with delayed_stops():
        try:
            backup_path = _upgrade(connection, path, busy_handler)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return backup_path


def _upgrade(connection: apsw.Connection, path: str, busy_handler: Patient) -> str | None:
    """Upgrades under the write lock; does nothing if another process has upgraded meanwhile."""
    version = connection.pragma("user_version")
    names = schema.files()[version:]
    if not names:
        return None
    backup_path = _back_up(path, version, busy_handler) if version else None
    for name in names:
        connection.execute(schema.statements(name)).fetchall()
    connection.pragma("application_id", schema.APPLICATION_ID)
    connection.pragma("user_version", schema.latest())
    if version and connection.execute("PRAGMA foreign_key_check").fetchall():
        msg = f"{path} has rows that belong to nothing (see: queuectl db check --full)"
        raise DatabaseUnusableError(msg)
    return backup_path


def _back_up(path: str, version: int, busy_handler: Patient) -> str:
    """Makes a backup before an upgrade, under the write lock."""
    from queued.store import instance_lock
    from queued.store.sqlite.maintenance import backup, open_existing

    if living := instance_lock.living(path):
        msg = (
            f"{path} has schema {version}, and a service runs on it that knows no newer "
            f"({', '.join(living)}); restart it with this version first"
        )
        raise DatabaseUnusableError(msg)
    backup_path = f"{path}.schema{version}.bak"
    with open_existing.opened(path, busy_handler) as source:
        backup.write(source, backup_path)
    return backup_path


def _switch_to_wal(connection: apsw.Connection, path: str, busy_handler: Patient) -> None:
    """Turns WAL on, for good; SQLite refuses that inside a transaction.

    SQLite does not call the busy handler here, so two processes that make the same database would
    fail; this function calls it.
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
