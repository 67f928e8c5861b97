"""Numbers about all runs, over SQLite."""

import os

from queued.core.run_totals import RunTotal
from queued.store.numbers import Sizes
from queued.store.sqlite.connection import Database, wal_bytes


class SqliteNumbers:
    """The `Numbers` of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_totals(self) -> list[RunTotal]:
        """See `Numbers.run_totals`."""
        with self._database.reading():
            return [RunTotal(*row) for row in self._database.rows("run_totals")]

    def sizes(self) -> Sizes:
        """See `Numbers.sizes`."""
        path = self._database.path
        with self._database.named_errors():
            return Sizes(os.stat(path).st_size, wal_bytes(path))
