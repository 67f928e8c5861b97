"""Changes of jobs in a SQLite database; see `store.edits`."""

import json
from collections.abc import Sequence

from queued.core.job_changes import JobChanges, must_fit
from queued.core.model import NewJob
from queued.core.records import ANY_JOB, JobFilter
from queued.store.sqlite.connection import Database, Row, Value
from queued.store.sqlite.new_jobs import NewJobs
from queued.store.sqlite.queues import SqliteQueues
from queued.store.sqlite.selection import Selection


class SqliteEdits:
    """The `Edits` of one database."""

    def __init__(self, database: Database, new_jobs: NewJobs) -> None:
        self._database = database
        self._new_jobs = new_jobs
        self._queues = SqliteQueues(database)
        self._selection = Selection(database)

    def edit(
        self,
        jobs: Sequence[int],
        changes: JobChanges,
        wanted: JobFilter = ANY_JOB,
        *,
        now_ms: int,
    ) -> Sequence[str]:
        """See `Edits.edit`."""
        with self._database.transaction():
            if changes.queue is not None:
                self._queues.admit([NewJob("", queue=changes.queue)])
            if changes.queue is not None or changes.requires is not None:
                lanes = self._database.rows("lanes_of", jobs=json.dumps([*jobs]))
                self._new_jobs.make_lanes([changes.lane(*lane) for lane in lanes])
            edited = self._changed("edit", jobs, wanted, now=now_ms, **changes.columns(now_ms))
            for _, *values in edited:
                must_fit(changes, *values)
        return [row[0] for row in edited]

    def hold(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """See `Edits.hold`."""
        with self._database.transaction():
            return [row[0] for row in self._changed("hold", jobs, wanted, now=now_ms)]

    def release(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """See `Edits.release`."""
        with self._database.transaction():
            return [row[0] for row in self._changed("release", jobs, wanted, now=now_ms)]

    def run_now(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """See `Edits.run_now`."""
        with self._database.transaction():
            return [row[0] for row in self._changed("run_now", jobs, wanted, now=now_ms)]

    def signal(self, jobs: Sequence[int], name: str, wanted: JobFilter = ANY_JOB) -> Sequence[str]:
        """See `Edits.signal`."""
        with self._database.transaction():
            return [row[0] for row in self._changed("signal", jobs, wanted, signal=name)]

    def _changed(
        self, statement: str, jobs: Sequence[int], wanted: JobFilter, **values: Value
    ) -> list[Row]:
        """Returns the row of each job that the statement has changed."""
        still = self._selection.still(jobs, wanted)
        changed = [self._database.row(statement, job=job, **values) for job in still]
        return [row for row in changed if row is not None]

    def first(self, queue: str, key: str | None) -> int | None:
        """See `Edits.first`."""
        with self._database.named_errors():
            found: int | None = self._database.value("first_of_queue", queue=queue, key=key)
        return found

    def input(self, job: int) -> bytes:
        """See `Edits.input`."""
        with self._database.named_errors():
            return self._database.value("input", job=job) or b""
