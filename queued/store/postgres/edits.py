"""Changes of single jobs in a PostgreSQL database; see `store.edits`."""

from queued.core import labels
from queued.core.model import JobChanges, NewJob
from queued.store import rows
from queued.store.postgres.connection import Database
from queued.store.postgres.new_jobs import NewJobs


class PostgresEdits:
    """The `Edits` of one database."""

    def __init__(self, database: Database, new_jobs: NewJobs) -> None:
        self._database = database
        self._new_jobs = new_jobs

    def edit(self, job: int, changes: JobChanges, *, now_ms: int) -> bool:
        """See `Edits.edit`."""
        made = False
        if changes.queue is not None:
            with self._database.reading():
                found = self._database.row("show", job=job)
            requires = labels.joined(rows.job(found).requires) if found else ""
            new = NewJob("", queue=changes.queue, requires=requires)
            made = self._database.repeated(lambda: self._new_jobs.make_lanes([new]), "enqueuer")

        def edit() -> bool:
            row = self._database.row("edit", job=job, now=now_ms, **changes.columns(now_ms))
            if row is not None:
                rows.must_be_valid(row[0])
            return row is not None

        edited = self._database.repeated(edit, "operator")
        self._database.notify("notify_all" if made else "notify_hungry")
        return edited

    def signal(self, job: int, name: str) -> bool:
        """See `Edits.signal`."""
        with self._database.transaction("enqueuer"):
            found = self._database.row("signal", job=job, signal=name) is not None
        self._database.notify("notify_all")
        return found

    def input(self, job: int) -> bytes:
        """See `Edits.input`."""
        with self._database.reading():
            return self._database.value("input", job=job) or b""
