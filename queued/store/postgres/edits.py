"""Changes of jobs in a PostgreSQL database; see `store.edits`."""

from collections.abc import Sequence

from queued.core.job_changes import JobChanges, must_fit
from queued.core.model import Label, NewJob, State
from queued.core.records import ANY_JOB, JobFilter
from queued.store.postgres.connection import Database, Value
from queued.store.postgres.new_jobs import NewJobs
from queued.store.postgres.ownership import must_be_own
from queued.store.postgres.queues import StoreQueues
from queued.store.postgres.selection import Selection


class PostgresEdits:
    """The `Edits` of one database."""

    def __init__(self, database: Database, new_jobs: NewJobs) -> None:
        self._database = database
        self._new_jobs = new_jobs
        self._queues = StoreQueues(database)
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
        moves = changes.queue is not None or changes.requires is not None
        made = moves and self._make_lanes(jobs, changes)

        def edit() -> list[str]:
            if changes.queue is not None:
                self._queues.admit([NewJob("", queue=changes.queue)])
            still = self._selection.still(jobs, wanted)
            values = changes.columns(now_ms)
            edited = sorted(self._database.rows("edit", jobs=still, now=now_ms, **values))
            for _, _, *fields in edited:
                must_fit(changes, *fields)
            return [row[1] for row in edited]

        names = self._database.repeated(edit, "operator")
        self._database.notify("notify_all" if made else "notify_hungry")
        return names

    def _make_lanes(self, jobs: Sequence[int], changes: JobChanges) -> bool:
        with self._database.reading():
            lanes = self._database.rows("lanes_of", jobs=[*jobs])
        new = [changes.lane(*lane) for lane in lanes]
        return self._database.repeated(lambda: self._new_jobs.make_lanes(new), "enqueuer")

    def hold(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """See `Edits.hold`."""
        return self._changed("hold", jobs, wanted, State.PENDING, now=now_ms)

    def release(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """See `Edits.release`."""
        now_ms = min(now_ms, self._database.now_ms())
        released = self._changed("release", jobs, wanted, Label.HELD, now=now_ms)
        self._database.notify("notify_hungry")
        return released

    def run_now(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """See `Edits.run_now`."""
        now_ms = min(now_ms, self._database.now_ms())
        due = self._changed("run_now", jobs, wanted, Label.SCHEDULED, Label.FAILED, now=now_ms)
        self._database.notify("notify_hungry")
        return due

    def signal(self, jobs: Sequence[int], name: str, wanted: JobFilter = ANY_JOB) -> Sequence[str]:
        """See `Edits.signal`."""
        signalled = self._changed("signal", jobs, wanted, State.PROCESSING, signal=name)
        self._database.notify("notify_all")
        return signalled

    def _changed(
        self,
        statement: str,
        jobs: Sequence[int],
        wanted: JobFilter,
        *movable: State | Label,
        **values: Value,
    ) -> Sequence[str]:
        """Returns the ids of the jobs that the statement has changed.

        Raises DeniedError if the only job is movable, and that of another user.
        """

        def change() -> Sequence[tuple[int, str]]:
            still = self._selection.still(jobs, wanted)
            changed = self._database.rows(statement, jobs=still, **values)
            if not changed and len(jobs) == 1:
                must_be_own(self._database, jobs[0], *movable)
            return changed

        return [name for _, name in sorted(self._database.repeated(change, "enqueuer"))]

    def first(self, queue: str, key: str | None) -> int | None:
        """See `Edits.first`."""
        with self._database.reading():
            found: int | None = self._database.value("first_of_queue", queue=queue, key=key)
        return found

    def input(self, job: int) -> bytes:
        """See `Edits.input`."""
        with self._database.reading():
            return self._database.value("input", job=job) or b""
