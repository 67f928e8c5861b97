"""The commands of queuectl for a queue in PostgreSQL as a whole."""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from queued.core.errors import DeniedError, UsageError
from queued.core.model import Instance
from queued.store.engine import DatabaseSizes
from queued.store.postgres.connection import Database

if TYPE_CHECKING:
    from queued.store.engine import CheckReport
    from queued.store.postgres.maintenance.moving import PostgresPlace
    from queued.store.queue_copy import WriteBackup
    from queued.store.statistics import DatabaseStats


class PostgresMaintenance:
    """A `Maintenance` of a queue in PostgreSQL. Its statements take as long as they need."""

    def __init__(
        self, url: str, is_alive: Callable[[Instance], bool], write_backup: "WriteBackup"
    ) -> None:
        self._url = url
        self._is_alive = is_alive
        self._write_backup = write_backup

    def _opened(self) -> "closing[Database]":
        return closing(Database(self._url, application="queuectl", serving=False))

    def check(self, *, full: bool) -> "CheckReport":
        """See `Maintenance.check`."""
        from queued.store.postgres.maintenance import schema_check

        with self._opened() as database:
            return schema_check.check(database, self._is_alive, full=full)

    def backup(self, target: str, *, replace: bool) -> int:
        """See `Maintenance.backup`. Reads and writes row by row."""
        with self.place().snapshot() as queue:
            return self._write_backup(queue, target, replace=replace)

    def restore(self, source: str, *, now_ms: int) -> str | None:  # noqa: ARG002 - never restores
        """See `Maintenance.restore`. Raises UsageError."""
        import shlex

        place = self.place().place
        words = ["queuectl", "--db", "COPY", "db", "move", "--to", place]
        msg = (
            f"a database in PostgreSQL is restored into an empty schema (?schema=NAME), "
            f"from a copy of the backup:  cp {shlex.quote(source)} COPY && {shlex.join(words)}"
        )
        raise UsageError(msg)

    def vacuum(self) -> DatabaseSizes:
        """See `Maintenance.vacuum`. Most of the space stays with the tables, for new rows."""
        with self._opened() as database, database.named_errors():
            if not database.value("owns"):
                msg = f"{database.address.shown}: a vacuum needs the owner of the tables"
                raise DeniedError(msg)
            schema = database.address.schema
            before = database.value("bytes", schema=schema)
            database.script_named("vacuum")
            return DatabaseSizes(before, database.value("bytes", schema=schema))

    def stats(self) -> "DatabaseStats":
        """See `Maintenance.stats`."""
        from queued.store.postgres.maintenance import stats

        with self._opened() as database:
            return stats.stats(database)

    def complete(self, kind: str, prefix: str) -> list[str]:
        """See `Maintenance.complete`."""
        from queued.store import completion

        with self._opened() as database, database.reading():
            return completion.complete(kind, prefix, database.rows)

    def place(self) -> "PostgresPlace":
        """See `Maintenance.place`."""
        from queued.store.postgres.maintenance.moving import PostgresPlace

        return PostgresPlace(self._url, self._is_alive)
