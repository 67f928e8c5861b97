"""Sizes and row counts of a database."""

from collections.abc import Callable
from typing import NamedTuple

from queued.store.sqlite import sql_loader
from queued.store.sqlite.connection import wal_bytes
from queued.store.sqlite.maintenance import open_existing


class Figures(NamedTuple):
    """Sizes in bytes; `oldest` and `newest` are an id and the time of its enqueueing.

    `bytes` is the size of the file after the next checkpoint.
    """

    schema: int
    bytes: int
    wal_bytes: int
    page_bytes: int
    pages: int
    free_pages: int
    rows: dict[str, int]
    output_kept_bytes: int
    output_printed_bytes: int
    oldest: tuple[str, int] | None
    newest: tuple[str, int] | None


def stats(path: str, busy_handler: Callable[[int], bool]) -> Figures:
    """Counts all rows in one snapshot, which takes long if the database is large."""
    sql = sql_loader.load()
    with open_existing.opened(path, busy_handler) as connection:
        connection.execute("BEGIN")
        kept, printed = map(str, connection.execute(sql["stats_output"]).fetchall()[0])
        ends = [(str(name), int(ms)) for name, ms in connection.execute(sql["stats_ends"])]
        page_bytes, pages = connection.pragma("page_size"), connection.pragma("page_count")
        figures = Figures(
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
