"""Changes of single jobs in a SQLite database; see `store.edits`."""

from queued.core import labels
from queued.core.model import JobChanges, NewJob
from queued.store import rows
from queued.store.sqlite.connection import Database
from queued.store.sqlite.new_jobs import NewJobs


class SqliteEdits:
    """The `Edits` of one database."""

    def __init__(self, database: Database, new_jobs: NewJobs) -> None:
        self._database = database
        self._new_jobs = new_jobs

    def edit(self, job: int, changes: JobChanges, *, now_ms: int) -> bool:
        """See `Edits.edit`."""
        with self._database.transaction():
            found = self._database.row("show", job=job)
            if found is None:
                return False
            if changes.queue is not None:
                requires = labels.joined(rows.job(found).requires)
                self._new_jobs.make_lanes([NewJob("", queue=changes.queue, requires=requires)])
            row = self._database.row("edit", job=job, now=now_ms, **changes.columns(now_ms))
            if row is not None:
                rows.must_be_valid(row[0])
        return row is not None

    def hold(self, job: int, *, now_ms: int) -> bool:
        """See `Edits.hold`."""
        with self._database.transaction():
            return self._database.row("hold", job=job, now=now_ms) is not None

    def release(self, job: int, *, now_ms: int) -> bool:
        """See `Edits.release`."""
        with self._database.transaction():
            return self._database.row("release", job=job, now=now_ms) is not None

    def run_now(self, job: int, *, now_ms: int) -> bool:
        """See `Edits.run_now`."""
        with self._database.transaction():
            return self._database.row("run_now", job=job, now=now_ms) is not None

    def signal(self, job: int, name: str) -> bool:
        """See `Edits.signal`."""
        with self._database.transaction():
            return self._database.row("signal", job=job, signal=name) is not None

    def input(self, job: int) -> bytes:
        """See `Edits.input`."""
        with self._database.named_errors():
            return self._database.value("input", job=job) or b""
