"""Inserts new jobs: those that users enqueue, and the hooks of ended jobs."""

import json
from collections.abc import Sequence
from itertools import islice

from queued.core import ids
from queued.core.errors import DuplicateJobError, TakenKeyError
from queued.core.model import ExistingJob, NewJob, OnTakenKey
from queued.store.postgres.connection import Database

_BATCH = 1000  # jobs that one statement inserts


def described(added: Sequence[str]) -> str:
    """Returns how a message names the jobs that were added."""
    named = f"the job {added[0]}" if added else "no job"
    return named + (f" and {len(added) - 1} more" if len(added) > 1 else "")


class NewJobs:
    """Inserts jobs into a database, with generated ids for those that have none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        max_retries: int,
        now_ms: int,
        skip_existing: bool = False,
        on_taken_key: OnTakenKey = "keep",
    ) -> list[str]:
        """Inserts the jobs inside a transaction; returns their ids. See `Store.enqueue`."""
        generated = iter(ids.make(sum(job.id is None for job in jobs)))
        named = enumerate((job, job.id or next(generated)) for job in jobs)
        added: list[str] = []
        # A job of a batch cannot replace another one of the same batch.
        size = 1 if on_taken_key == "replace" else _BATCH
        while batch := list(islice(named, size)):
            pairs = [pair for _, pair in batch]
            self._free_keys(pairs, now_ms, replace=on_taken_key == "replace")
            stored = self._store(pairs, max_retries, now_ms)
            holders = self._holders(pairs, stored)
            for index, (job, name) in batch:
                holder = holders.get(job.unique_key)
                if name in stored:
                    stored.remove(name)  # a second job with this id in the batch was left out
                    added.append(name)
                elif job.unique_key and holder:
                    if on_taken_key == "fail":
                        raise TakenKeyError(job.unique_key, holder, index)
                    added.append(holder)
                elif job.id is None or (job.unique_key and not self._database.row("find", id=name)):
                    # The generated id was taken, or the key is free by now.
                    added += self.insert([job], max_retries=max_retries, now_ms=now_ms)
                elif not skip_existing:
                    raise DuplicateJobError(name, index)
        return added

    def _free_keys(
        self, named: Sequence[tuple[NewJob, str]], now_ms: int, *, replace: bool
    ) -> None:
        keys = [job.unique_key for job, _ in named if job.unique_key]
        if not keys:
            return
        self._database.run("free_keys", keys=keys, now=now_ms)
        if replace:
            ((job, name),) = named
            self._database.run("replace", key=job.unique_key, id=name, now=now_ms)

    def _holders(
        self, named: Sequence[tuple[NewJob, str]], stored: set[str]
    ) -> dict[str | None, ExistingJob]:
        """Returns the jobs that hold the keys of jobs that were not stored."""
        keys = [job.unique_key for job, name in named if job.unique_key and name not in stored]
        rows = self._database.rows("key_holders", keys=keys) if keys else []
        return {key: ExistingJob(name) for key, name in rows}

    def make_lanes(self, jobs: Sequence[NewJob]) -> bool:
        """Inserts the lanes of jobs, in a short transaction before that of the jobs themselves.

        Returns whether a dispatcher must read new lanes.
        """
        lanes = [*{(job.queue, job.requires) for job in jobs} - {("default", "")}]
        names = {"queues": [queue for queue, _ in lanes], "requires": [one for _, one in lanes]}
        if not lanes or not self._database.rows("missing_lanes", **names):
            return False
        self._database.run("make_lanes", **names)
        return True

    def _store(self, named: list[tuple[NewJob, str]], max_retries: int, now_ms: int) -> set[str]:
        """Inserts the jobs whose id does not exist and whose key is free; returns their ids."""
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
                **(job.unique(now_ms) if job.unique_key else {}),
                **({} if (at := job.expires_ms(now_ms)) is None else {"expires_at": at}),
                **({} if job.labels is None else {"labels": job.labels}),
            }
            for place, (job, name) in enumerate(named)
        ]
        text = json.dumps(rows, ensure_ascii=False)
        stored = {row[0] for row in self._database.rows("enqueue", jobs=text, now=now_ms)}
        inputs = {name: job.stdin for job, name in reversed(named) if job.stdin and name in stored}
        if inputs:
            self._database.run("put_inputs", ids=[*inputs], contents=[*inputs.values()])
        return stored
