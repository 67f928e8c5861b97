"""Numbers about all runs in a PostgreSQL database; see `store.numbers`."""

from queued.store.numbers import Numbers, Sizes
from queued.store.postgres.connection import Database


def numbers(database: Database) -> Numbers:
    """Returns the numbers for queuectl."""

    def sizes() -> Sizes:
        with database.reading():
            return Sizes(int(database.value("bytes", schema=database.address.schema)), 0)

    return Numbers(database, database.reading, sizes)
