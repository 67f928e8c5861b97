"""Inserts new jobs: those that users enqueue, and the hooks of ended jobs."""

from collections.abc import Sequence

import apsw

from queued.core import ids
from queued.core.errors import DuplicateJobError
from queued.core.model import NewJob
from queued.store.sqlite.connection import Database


class NewJobs:
    """Inserts jobs into a database, with generated ids for those that have none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(
        self, jobs: Sequence[NewJob], *, max_retries: int, now_ms: int, skip_existing: bool = False
    ) -> list[str]:
        """Inserts the jobs inside a transaction; returns their ids. See `Store.enqueue`."""
        generated = iter(ids.make(sum(job.id is None for job in jobs)))
        added: list[str] = []
        for index, job in enumerate(jobs):
            name = job.id or next(generated)
            while not self._insert(job, name, max_retries, now_ms):
                if job.id is None:
                    (name,) = ids.make(1)
                elif skip_existing:
                    break
                else:
                    raise DuplicateJobError(job.id, index)
            else:
                added.append(name)
        return added

    def make_lanes(self, jobs: Sequence[NewJob]) -> bool:
        """Inserts the lanes of jobs, before the jobs; returns whether some were not there."""
        lanes = {(job.queue, job.requires) for job in jobs} - {("default", "")}
        made = [
            self._database.change("make_lane", queue=queue, requires=requires)
            for queue, requires in sorted(lanes)
        ]
        return any(made)

    def _insert(self, job: NewJob, name: str, max_retries: int, now_ms: int) -> bool:
        """Returns whether the job was inserted; False if another job has the id."""
        try:
            self._database.run(
                "enqueue",
                id=name,
                queue=job.queue,
                priority=job.priority,
                requires=job.requires,
                command=job.command,
                options=job.options,
                blocked=int(job.hold),
                next_run_at=job.due_ms(now_ms),
                max_retries=max_retries if job.max_retries is None else job.max_retries,
                slots=job.slots,
                now=now_ms,
            )
        except apsw.ConstraintError as error:
            if error.extendedresult != apsw.SQLITE_CONSTRAINT_UNIQUE:  # type: ignore[attr-defined]  # not in apsw's stubs
                raise
            return False
        return True
