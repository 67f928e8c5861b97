"""Sizes and row counts of a queue, and what the server tells of tables, sessions and standbys."""

from queued.core.records import SnapshotHolder
from queued.store import statistics
from queued.store.postgres.connection import Database
from queued.store.postgres.maintenance.queue_tables import must_see_all
from queued.store.statistics import DatabaseStats, ServerStats, Standby, TableStats


def stats(database: Database) -> DatabaseStats:
    """Counts all rows in one snapshot, which takes long if the database is large."""
    must_see_all(database)
    name = database.address.schema
    with database.reading("long_snapshot"):
        tables = {
            table: TableStats(size, dead, vacuumed)
            for table, size, dead, vacuumed in database.rows("stats_tables", schema=name)
        }
        oldest = database.row("snapshot_holders")
        return DatabaseStats(
            schema=database.schema(),
            bytes=sum(table.bytes for table in tables.values()),
            content=statistics.content(database.rows),
            server=ServerStats(
                tables=tables,
                oldest_snapshot=None if oldest is None else SnapshotHolder(*oldest),
                standbys=[Standby(*row) for row in database.rows("stats_replication")],
            ),
        )
