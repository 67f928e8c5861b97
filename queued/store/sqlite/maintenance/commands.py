"""The commands of queuectl for the database file as a whole."""

from typing import TYPE_CHECKING

from queued.core.times import iso

if TYPE_CHECKING:
    from queued.store.engine import CheckReport, DatabaseSizes
    from queued.store.sqlite.busy_handler import BusyHandler
    from queued.store.sqlite.maintenance.moving import SqlitePlace
    from queued.store.statistics import DatabaseStats


class SqliteMaintenance:
    """A `Maintenance` of one SQLite file."""

    def __init__(self, path: str, busy_handler: "BusyHandler") -> None:
        self._path = path
        self._busy_handler = busy_handler

    def check(self, *, full: bool) -> "CheckReport":
        """See `Maintenance.check`."""
        from queued.store.sqlite.maintenance import integrity_check

        return integrity_check.check(self._path, self._busy_handler, full=full)

    def backup(self, target: str, *, replace: bool) -> int:
        """See `Maintenance.backup`."""
        from queued.store.sqlite.maintenance import backup

        return backup.backup(self._path, target, self._busy_handler, replace=replace)

    def restore(self, source: str, *, now_ms: int) -> str | None:
        """See `Maintenance.restore`."""
        from queued.store.sqlite.maintenance import backup

        stamp = iso(now_ms).replace("-", "").replace(":", "").replace(".", "")
        kept = f"{self._path}.{stamp}.bak"
        return kept if backup.restore(self._path, source, kept, self._busy_handler) else None

    def vacuum(self) -> "DatabaseSizes":
        """See `Maintenance.vacuum`."""
        from queued.store.sqlite.maintenance import backup

        return backup.vacuum(self._path, self._busy_handler)

    def stats(self) -> "DatabaseStats":
        """See `Maintenance.stats`."""
        from queued.store.sqlite.maintenance import stats

        return stats.stats(self._path, self._busy_handler)

    def complete(self, kind: str, prefix: str) -> list[str]:
        """See `Maintenance.complete`."""
        from queued.store import completion
        from queued.store.sqlite.maintenance import open_existing

        with open_existing.opened_to_read(self._path, self._busy_handler) as connection:
            connection.execute("PRAGMA query_only = ON")
            return completion.complete(kind, prefix, open_existing.reader(connection))

    def place(self) -> "SqlitePlace":
        """See `Maintenance.place`."""
        from queued.store.sqlite.maintenance.moving import SqlitePlace

        return SqlitePlace(self._path, self._busy_handler)
