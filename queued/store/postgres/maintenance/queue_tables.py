"""The tables of a queue in PostgreSQL, as `queue_copy` reads and fills them."""

from collections.abc import Iterable, Iterator, Sequence

from queued.core.errors import DeniedError
from queued.store.move_mark import CLOSED, MoveMark
from queued.store.postgres import schema
from queued.store.postgres.connection import Database
from queued.store.queue_copy import KEYS, Row


def must_see_all(database: Database) -> None:
    """Raises DeniedError if the user sees only jobs of its own."""
    schema = database.address.schema
    with database.reading():
        if not database.value("sees_all", schema=schema):
            msg = f"{database.address.shown}: this needs all jobs; ask for the role {schema}_reader"
            raise DeniedError(msg)


class PostgresTables:
    """The `QueueTables` of a database, which is inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def columns(self, table: str) -> list[str]:
        """See `QueueTables.columns`."""
        return [row[0] for row in self._database.rows("table_columns", table=self._name(table))]

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Row]:
        """See `QueueTables.rows`."""
        query = f"SELECT {', '.join(columns)} FROM {self._name(table)} ORDER BY {KEYS[table]}"  # noqa: S608 - of the schema
        for row in self._database.stream(query):
            yield tuple(int(value) if isinstance(value, bool) else value for value in row)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See `QueueTables.insert`."""
        names = ", ".join(columns)
        self._database.script(f"DELETE FROM {self._name(table)}")  # noqa: S608 - of the schema
        self._database.copy_in(f"COPY {self._name(table)} ({names}) FROM STDIN", rows)

    def _name(self, table: str) -> str:
        return f'"{self._database.address.schema}".{table}'

    def last_seq(self) -> int:
        """See `QueueTables.last_seq`."""
        return int(self._database.value("last_seq"))

    def set_last_seq(self, number: int) -> None:
        """See `QueueTables.set_last_seq`."""
        self._database.run("set_last_seq", seq=number)

    def close(self, mark: MoveMark) -> None:
        """See `QueueTables.close`."""
        self._database.script_named("make_mark")
        self._database.run("put_mark", gone=mark.gone, place=mark.place, host=mark.host)
        self._database.run("schema_set", schema=CLOSED, works_from=schema.WORKS_FROM)
