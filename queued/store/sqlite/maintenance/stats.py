"""Sizes and row counts of a database."""

from collections.abc import Callable

from queued.store.engine import DatabaseStats, DatedJob
from queued.store.sqlite import sql_loader
from queued.store.sqlite.connection import wal_bytes
from queued.store.sqlite.maintenance import open_existing


def stats(path: str, busy_handler: Callable[[int], bool]) -> DatabaseStats:
    """Counts all rows in one snapshot, which takes long if the database is large."""
    sql = sql_loader.load()
    with open_existing.opened_to_read(path, busy_handler) as connection:
        connection.execute("BEGIN")
        kept, printed = map(str, connection.execute(sql["stats_output"]).fetchall()[0])
        ends = [DatedJob(*row) for row in connection.execute(sql["stats_ends"])]
        page_bytes, pages = connection.pragma("page_size"), connection.pragma("page_count")
        figures = DatabaseStats(
            schema=connection.pragma("user_version"),
            bytes=page_bytes * pages,
            wal_bytes=wal_bytes(path),
            page_bytes=page_bytes,
            pages=pages,
            free_pages=connection.pragma("freelist_count"),
            rows={str(table): int(n) for table, n in connection.execute(sql["stats_rows"])},
            output_kept_bytes=int(kept),
            output_printed_bytes=int(printed),
            oldest=ends[0] if ends else None,
            newest=ends[-1] if ends else None,
        )
        connection.execute("COMMIT")
    return figures
