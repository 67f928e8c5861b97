"""Changes of jobs in a SQLite database; see `store.edits`."""

import json
from collections.abc import Sequence

from queued.core.model import JobChanges, NewJob
from queued.core.records import ANY_JOB, JobFilter
from queued.store import rows
from queued.store.sqlite.connection import Database, Row, Value
from queued.store.sqlite.new_jobs import NewJobs
from queued.store.sqlite.selection import Selection


class SqliteEdits:
    """The `Edits` of one database."""

    def __init__(self, database: Database, new_jobs: NewJobs) -> None:
        self._database = database
        self._new_jobs = new_jobs
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
                required = self._database.rows("requires_of", jobs=json.dumps([*jobs]))
                self._new_jobs.make_lanes(
                    [NewJob("", queue=changes.queue, requires=text) for (text,) in required]
                )
            edited = self._changed("edit", jobs, wanted, now=now_ms, **changes.columns(now_ms))
            for _, options in edited:
                rows.must_be_valid(options)
        return [name for name, _ in edited]

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

    def first_ready(self, queue: str) -> int | None:
        """See `Edits.first_ready`."""
        with self._database.named_errors():
            found: int | None = self._database.value("first_of_queue", queue=queue)
        return found

    def input(self, job: int) -> bytes:
        """See `Edits.input`."""
        with self._database.named_errors():
            return self._database.value("input", job=job) or b""
