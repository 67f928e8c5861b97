"""The sizes of a database, and how many rows it has."""

from typing import NamedTuple

from queued.core.records import SnapshotHolder
from queued.store.invariants import Read


class DatedJob(NamedTuple):
    """A job and the time at which it was enqueued."""

    id: str
    created_ms: int


class ContentStats(NamedTuple):
    """What the queue contains: rows by table, output in bytes, the oldest and the newest job."""

    rows: dict[str, int]
    output_kept_bytes: int
    output_printed_bytes: int
    oldest: DatedJob | None
    newest: DatedJob | None


class FileStats(NamedTuple):
    """What SQLite tells of its file."""

    wal_bytes: int
    page_bytes: int
    pages: int
    free_pages: int


class TableStats(NamedTuple):
    """What PostgreSQL tells of a table. `bytes` includes its indexes."""

    bytes: int
    dead_rows: int
    autovacuumed_ms: int | None


class Standby(NamedTuple):
    """A standby of the server, as far as the user may know it."""

    application: str | None
    state: str | None
    sync_state: str | None
    lag_s: float | None


class ServerStats(NamedTuple):
    """What PostgreSQL tells of the tables of a queue, and of what concerns their vacuum."""

    tables: dict[str, TableStats]
    oldest_snapshot: SnapshotHolder | None
    standbys: list[Standby]


class DatabaseStats(NamedTuple):
    """`bytes` is the size of the file after the next checkpoint, or of all tables of the queue.

    Either `file` or `server` is there.
    """

    schema: int
    bytes: int
    content: ContentStats
    file: FileStats | None = None
    server: ServerStats | None = None


def content(read: Read) -> ContentStats:
    """Counts all rows, within one snapshot; this takes long if the database is large."""
    ((kept, printed),) = read("stats_output")
    ends = [DatedJob(*row) for row in read("stats_ends")]
    return ContentStats(
        rows={str(table): int(n) for table, n in read("stats_rows")},
        output_kept_bytes=int(kept),
        output_printed_bytes=int(printed),
        oldest=ends[0] if ends else None,
        newest=ends[-1] if ends else None,
    )
