"""Inserts new jobs: those that users enqueue, and the hooks of ended jobs."""

import json
from collections.abc import Sequence
from itertools import islice

from queued.core import ids
from queued.core.errors import DuplicateJobError
from queued.core.model import NewJob
from queued.store.postgres.connection import Database

_BATCH = 1000  # jobs that one statement inserts


class NewJobs:
    """Inserts jobs into a database, with generated ids for those that have none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(
        self, jobs: Sequence[NewJob], *, max_retries: int, now_ms: int, skip_existing: bool = False
    ) -> list[str]:
        """Inserts the jobs inside a transaction; returns their ids. See `Store.enqueue`."""
        generated = iter(ids.make(sum(job.id is None for job in jobs)))
        named = enumerate((job, job.id or next(generated)) for job in jobs)
        added: list[str] = []
        while batch := list(islice(named, _BATCH)):
            stored = self._store([pair for _, pair in batch], max_retries, now_ms)
            for index, (job, name) in batch:
                if name in stored:
                    stored.remove(name)  # a second job with this id in the batch was left out
                    added.append(name)
                elif job.id is None:  # the generated id was taken; another one is generated
                    added += self.insert([job], max_retries=max_retries, now_ms=now_ms)
                elif not skip_existing:
                    raise DuplicateJobError(job.id, index)
        return added

    def make_lanes(self, jobs: Sequence[NewJob]) -> bool:
        """Inserts the lanes of jobs, in a short transaction before that of the jobs themselves.

        Returns whether a dispatcher must read new lanes.
        """
        lanes = [*{(job.queue, job.requires) for job in jobs} - {("default", "")}]
        names = {"queues": [queue for queue, _ in lanes], "requires": [one for _, one in lanes]}
        if not lanes or not self._database.rows("missing_lanes", **names):
            return False
        self._database.run("lock_lanes")
        self._database.run("make_lanes", **names)
        return True

    def _store(self, named: list[tuple[NewJob, str]], max_retries: int, now_ms: int) -> set[str]:
        """Inserts the jobs whose id does not exist; returns the ids of these."""
        rows = [
            {
                "place": place,
                "id": name,
                "queue": job.queue,
                "priority": job.priority,
                "requires": job.requires,
                "command": job.command,
                "options": job.options,
                "blocked": int(job.hold),
                "next_run_at": job.due_ms(now_ms),
                "max_retries": max_retries if job.max_retries is None else job.max_retries,
                "slots": job.slots,
            }
            for place, (job, name) in enumerate(named)
        ]
        text = json.dumps(rows, ensure_ascii=False)
        return {row[0] for row in self._database.rows("enqueue", jobs=text, now=now_ms)}
