"""The tables of a queue in an SQLite file, as `queue_copy` reads and fills them."""

from collections.abc import Iterable, Iterator, Sequence

import apsw

from queued.store.move_mark import CLOSED, MoveMark
from queued.store.queue_copy import KEYS, Row
from queued.store.sqlite import sql_loader


class SqliteTables:
    """The `QueueTables` of a connection, which is inside a transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._sql = sql_loader.load()

    def columns(self, table: str) -> list[str]:
        """See `QueueTables.columns`."""
        return [str(row[1]) for row in self._connection.execute(f"PRAGMA table_info({table})")]

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """See `QueueTables.rows`."""
        names = ", ".join(columns)
        return self._connection.execute(f"SELECT {names} FROM {table} ORDER BY {KEYS[table]}")  # noqa: S608 - of the schema

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See `QueueTables.insert`."""
        self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - of the schema
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608 - of the schema

    def last_seq(self) -> int:
        """See `QueueTables.last_seq`."""
        return self._connection.execute(self._sql["last_seq"]).get or 0

    def set_last_seq(self, number: int) -> None:
        """See `QueueTables.set_last_seq`."""
        self._connection.execute(self._sql["set_last_seq"], {"seq": number})

    def close(self, mark: MoveMark) -> None:
        """See `QueueTables.close`."""
        values = {"gone": mark.gone, "place": mark.place, "host": mark.host}
        self._connection.execute(self._sql["put_mark"], values)
        self._connection.pragma("user_version", CLOSED)
