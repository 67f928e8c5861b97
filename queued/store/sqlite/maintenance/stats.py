"""Sizes and row counts of a database."""

from collections.abc import Callable

from queued.store import statistics
from queued.store.sqlite.connection import wal_bytes
from queued.store.sqlite.maintenance import open_existing
from queued.store.statistics import DatabaseStats, FileStats


def stats(path: str, busy_handler: Callable[[int], bool]) -> DatabaseStats:
    """Counts all rows in one snapshot, which takes long if the database is large."""
    with open_existing.opened_to_read(path, busy_handler) as connection:
        connection.execute("BEGIN")
        page_bytes, pages = connection.pragma("page_size"), connection.pragma("page_count")
        figures = DatabaseStats(
            schema=connection.pragma("user_version"),
            bytes=page_bytes * pages,
            content=statistics.content(open_existing.reader(connection)),
            file=FileStats(
                wal_bytes=wal_bytes(path),
                page_bytes=page_bytes,
                pages=pages,
                free_pages=connection.pragma("freelist_count"),
            ),
        )
        connection.execute("COMMIT")
    return figures
