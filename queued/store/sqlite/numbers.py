"""Numbers about all runs in a SQLite database; see `store.numbers`."""

import os

from queued.store.numbers import Numbers, Sizes
from queued.store.sqlite.connection import Database, wal_bytes


def numbers(database: Database) -> Numbers:
    """Returns the numbers for queuectl."""

    def sizes() -> Sizes:
        with database.named_errors():
            return Sizes(os.stat(database.path).st_size, wal_bytes(database.path))

    return Numbers(database, database.reading, sizes)
