"""Numbers about all runs, over PostgreSQL."""

from queued.core.run_totals import RunTotal
from queued.store.numbers import Sizes
from queued.store.postgres.connection import Database


class PostgresNumbers:
    """The `Numbers` of a schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_totals(self) -> list[RunTotal]:
        """See `Numbers.run_totals`."""
        with self._database.reading():
            return [RunTotal(*row) for row in self._database.rows("run_totals")]

    def sizes(self) -> Sizes:
        """See `Numbers.sizes`."""
        with self._database.reading():
            schema = self._database.address.schema
            return Sizes(int(self._database.value("bytes", schema=schema)), 0)
