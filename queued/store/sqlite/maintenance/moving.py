"""Moves a queue out of an SQLite file, or into a new one; see `queue_copy`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import apsw

from queued.core.errors import ConflictError, DatabaseUnusableError
from queued.store import instance_lock, permissions, queue_copy
from queued.store.move_mark import MoveMark
from queued.store.queue_copy import CopiedTable, QueueTables
from queued.store.sqlite import schema, sql_loader
from queued.store.sqlite.maintenance import backup, open_existing
from queued.store.sqlite.maintenance.queue_tables import SqliteTables


class SqlitePlace:
    """A `MovablePlace`: the path of a database."""

    def __init__(self, path: str, busy_handler: Callable[[int], bool]) -> None:
        self.place = path
        self._busy_handler = busy_handler

    def mark(self) -> MoveMark | None:
        """See `MovablePlace.mark`."""
        if not os.path.lexists(self.place):
            return None
        with open_existing.opened(self.place, self._busy_handler, refuse=_nothing) as connection:
            return schema.mark(connection)

    @contextmanager
    def held(self) -> Iterator[QueueTables]:
        """See `MovablePlace.held`."""
        with open_existing.opened(self.place, self._busy_handler) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if connection.pragma("user_version") != schema.latest():
                msg = f"{self.place} has an older schema; run first: queuectl db upgrade"
                raise DatabaseUnusableError(msg)
            counts = connection.execute(sql_loader.load()["counts"])
            queue_copy.must_be_idle(self.place, instance_lock.living(self.place), counts)
            yield SqliteTables(connection)
            connection.execute("COMMIT")

    def receive(self, source: QueueTables, mark: MoveMark) -> dict[str, CopiedTable]:
        """See `MovablePlace.receive`."""
        replace = mark.same(self.mark())
        if os.path.lexists(self.place) and not replace:
            msg = f"{self.place} exists already; give the path of a new file"
            raise ConflictError(msg)
        permissions.make_directory(os.path.dirname(self.place))
        copied: dict[str, CopiedTable] = {}
        fill = partial(_fill, source, mark, copied)
        backup.write_rows(fill, self.place, replace=replace)
        return copied

    def open(self) -> None:
        """See `MovablePlace.open`."""
        with open_existing.opened(self.place, self._busy_handler, refuse=_nothing) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(sql_loader.load()["remove_mark"])
            connection.pragma("user_version", schema.latest())
            connection.execute("COMMIT")


def _nothing(_connection: apsw.Connection, _path: str) -> None:
    """Refuses no database."""


def write_backup(source: QueueTables, target: str, *, replace: bool) -> int:
    """Writes a copy of any queue to a file that a service can use; returns its size in bytes."""
    return backup.write_rows(partial(_fill, source, None, {}), target, replace=replace)


def _fill(
    source: QueueTables,
    mark: MoveMark | None,
    copied: dict[str, CopiedTable],
    connection: apsw.Connection,
) -> None:
    """Makes a database of the rows of `source`, all in one transaction."""
    connection.execute("BEGIN")
    for name in schema.files():
        connection.execute(schema.statements(name)).fetchall()
    connection.pragma("application_id", schema.APPLICATION_ID)
    connection.pragma("user_version", schema.latest())
    tables = SqliteTables(connection)
    copied.update(queue_copy.copy(source, tables))
    if mark is not None:
        tables.close(mark)
    connection.execute("COMMIT")
    connection.pragma("journal_mode", "wal")
