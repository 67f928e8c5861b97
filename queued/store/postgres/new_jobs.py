"""Inserts new jobs: those that users enqueue, and the hooks of ended jobs."""

import json
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from queued.core import ids
from queued.core.errors import DuplicateJobError, TakenKeyError
from queued.core.model import ExistingJob, KeyUser, NewJob, OnTakenKey
from queued.core.rates import Rate
from queued.store.postgres.connection import Database

_BATCH = 1000  # jobs that one statement inserts


def described(added: Sequence[str]) -> str:
    """Returns how a message names the jobs that were added."""
    named = f"the job {added[0]}" if added else "no job"
    return named + (f" and {len(added) - 1} more" if len(added) > 1 else "")


class _How(NamedTuple):
    """What holds for all jobs of one call of `insert`."""

    max_retries: int
    now_ms: int
    skip_existing: bool
    on_taken_key: OnTakenKey


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
        how = _How(max_retries, now_ms, skip_existing, on_taken_key)
        generated = iter(ids.make(sum(job.id is None for job in jobs)))
        named = enumerate((job, job.id or next(generated)) for job in jobs)
        added: list[tuple[str, NewJob]] = []
        discarded = [job.key for job in jobs if job.key and job.on_conflict == "discard"]
        if discarded:  # all locks first, in the same order for all programs
            self._database.rows(
                "key_users", keys=discarded, limits=[0] * len(discarded), now=now_ms
            )
        # What is done with a job of these depends on the jobs before it.
        size = 1 if on_taken_key == "replace" or discarded else _BATCH
        while batch := list(islice(named, size)):
            added += self._insert(batch, how)
        new = [(name, job) for name, job in added if not isinstance(name, ExistingJob)]
        if waiting := [(name, job) for name, job in new if job.waits]:
            from queued.store.dependencies import Dependencies

            Dependencies(self._database, list).add(waiting, now_ms=now_ms)
        return [name for name, _ in added]

    def _insert(
        self, batch: Sequence[tuple[int, tuple[NewJob, str]]], how: _How, *, again: bool = True
    ) -> list[tuple[str, NewJob]]:
        """Inserts jobs, each with its place in the list given; returns them with their ids.

        `again`: a job whose key is free by now is inserted again. A job of another user, which this
        user does not see, may have the same id; then the job is left out once more.
        """
        added: list[tuple[str, NewJob]] = []
        users = {index: user for index, (job, _) in batch if (user := self._key_user(job, how))}
        pairs = [pair for index, pair in batch if index not in users]
        self._free_keys(pairs, how)
        stored = self._store(pairs, how)
        holders = self._holders(pairs, stored)
        for index, (job, name) in batch:
            holder = holders.get(job.unique_key)
            if index in users:
                added.append((users[index], job))
            elif name in stored:
                stored.remove(name)  # a second job with this id in the batch was left out
                added.append((name, job))
            elif job.unique_key and holder:
                if how.on_taken_key == "fail":
                    raise TakenKeyError(job.unique_key, holder, index)
                added.append((holder, job))
            elif job.id is None:  # the generated id was taken, or the key is free by now
                added += self._insert([(index, (job, ids.make(1)[0]))], how)
            elif again and job.unique_key and not self._database.row("find", id=name):
                added += self._insert([(index, (job, name))], how, again=False)
            elif not how.skip_existing:
                raise DuplicateJobError(name, index, array=job.array_id is not None)
        return added

    def _key_user(self, job: NewJob, how: _How) -> KeyUser | None:
        """Returns a job because of which this one is discarded; None if it is not."""
        if job.key is None or job.on_conflict != "discard":
            return None
        row = self._database.row(
            "key_users", keys=[job.key], limits=[job.key_limit], now=how.now_ms
        )
        return KeyUser(row[1]) if row and row[2] == job.key_limit else None

    def _free_keys(self, named: Sequence[tuple[NewJob, str]], how: _How) -> None:
        keys = [job.unique_key for job, _ in named if job.unique_key]
        if not keys:
            return
        self._database.run("free_keys", keys=keys, now=how.now_ms)
        if how.on_taken_key == "replace":
            ((job, name),) = named
            self._database.run("replace", key=job.unique_key, id=name, now=how.now_ms)

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

    def _store(self, named: Sequence[tuple[NewJob, str]], how: _How) -> set[str]:
        """Inserts the jobs whose id does not exist and whose key is free; returns their ids."""
        now_ms = how.now_ms
        rows = [
            {
                "place": place,
                "id": name,
                "queue": job.queue,
                "priority": job.priority,
                "requires": job.requires,
                "command": job.command,
                "options": job.options,
                "blocked": job.hold + 2 * job.waits,
                "next_run_at": job.due_ms(now_ms),
                "max_retries": how.max_retries if job.max_retries is None else job.max_retries,
                "slots": job.slots,
                **(job.unique(now_ms) if job.unique_key else {}),
                **({} if (at := job.expires_ms(now_ms)) is None else {"expires_at": at}),
                **({} if job.labels is None else {"labels": job.labels}),
                **({} if job.array_id is None else {"array_id": job.array_id}),
                **({} if job.key is None else {"key": job.key, "key_limit": job.key_limit}),
                **({} if job.key_rate is None else _rate(job.key_rate)),
            }
            for place, (job, name) in enumerate(named)
        ]
        text = json.dumps(rows, ensure_ascii=False)
        stored = {row[0] for row in self._database.rows("enqueue", jobs=text, now=now_ms)}
        inputs = {name: job.stdin for job, name in reversed(named) if job.stdin and name in stored}
        if inputs:
            self._database.run("put_inputs", ids=[*inputs], contents=[*inputs.values()])
        return stored


def _rate(rate: Rate) -> dict[str, int]:
    return {"key_rate_starts": rate.starts, "key_rate_ms": rate.window_ms}
