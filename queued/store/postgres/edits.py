"""Changes of single jobs in a PostgreSQL database; see `store.edits`."""

from queued.core import labels
from queued.core.model import JobChanges, Label, NewJob, State
from queued.store import rows
from queued.store.postgres.connection import Database
from queued.store.postgres.new_jobs import NewJobs
from queued.store.postgres.ownership import must_be_own


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

    def hold(self, job: int, *, now_ms: int) -> bool:
        """See `Edits.hold`."""
        return self._move_pending("hold", job, now_ms, State.PENDING)

    def release(self, job: int, *, now_ms: int) -> bool:
        """See `Edits.release`."""
        released = self._move_pending("release", job, now_ms, Label.HELD)
        self._database.notify("notify_hungry")
        return released

    def run_now(self, job: int, *, now_ms: int) -> bool:
        """See `Edits.run_now`."""
        moved = self._move_pending("run_now", job, now_ms, Label.SCHEDULED, Label.FAILED)
        self._database.notify("notify_hungry")
        return moved

    def _move_pending(self, statement: str, job: int, now_ms: int, *movable: State | Label) -> bool:
        def move() -> bool:
            if not self._database.rows(statement, jobs=[job], now=now_ms):
                must_be_own(self._database, job, *movable)
                return False
            return True

        return self._database.repeated(move, "enqueuer")

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
