"""Inserts new jobs: those that users enqueue, and the hooks of ended jobs."""

import os
import pwd
from collections.abc import Sequence
from functools import cache

import apsw

from queued.core import ids
from queued.core.errors import DatabaseUnusableError, DuplicateJobError, TakenKeyError
from queued.core.model import ExistingJob, KeyUser, NewJob, OnTakenKey
from queued.store.sqlite.connection import Database


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
        added: list[str] = []
        waiting: list[tuple[str, NewJob]] = []
        for index, job in enumerate(jobs):
            name = job.id or next(generated)
            if user := self._key_user(job, now_ms):
                added.append(user)
                continue
            if job.unique_key is not None:
                self._free_key(job.unique_key, name, now_ms, replace=on_taken_key == "replace")
            while not self._insert(job, name, max_retries, now_ms):
                if job.unique_key and (holder := self._holder(job.unique_key)):
                    if on_taken_key == "fail":
                        raise TakenKeyError(job.unique_key, holder, index)
                    added.append(holder)
                    break
                if job.id is None:
                    (name,) = ids.make(1)
                elif skip_existing:
                    break
                else:
                    raise DuplicateJobError(job.id, index, array=job.array_id is not None)
            else:
                added.append(name)
                if job.waits:
                    waiting.append((name, job))
        self._let_wait(waiting, now_ms)
        return added

    def _let_wait(self, waiting: Sequence[tuple[str, NewJob]], now_ms: int) -> None:
        if waiting:
            from queued.store.dependencies import Dependencies  # few jobs wait for others

            Dependencies(self._database, str).add(waiting, now_ms=now_ms)

    def make_lanes(self, jobs: Sequence[NewJob]) -> bool:
        """Inserts the lanes of jobs, before the jobs; returns whether some were not there."""
        lanes = {(job.queue, job.requires) for job in jobs} - {("default", "")}
        made = [
            self._database.change("make_lane", queue=queue, requires=requires)
            for queue, requires in sorted(lanes)
        ]
        return any(made)

    def _free_key(self, key: str, name: str, now_ms: int, *, replace: bool) -> None:
        self._database.run("free_key", key=key, now=now_ms)
        if replace:
            self._database.run("replace", key=key, id=name, now=now_ms)

    def _key_user(self, job: NewJob, now_ms: int) -> KeyUser | None:
        """Returns a job because of which this one is discarded; None if it is not."""
        if job.on_conflict != "discard":
            return None
        users = self._database.rows("key_users", key=job.key, limit=job.key_limit, now=now_ms)
        return KeyUser(users[0][0]) if len(users) == job.key_limit else None

    def _holder(self, key: str) -> ExistingJob | None:
        row = self._database.row("key_holder", key=key)
        return None if row is None else ExistingJob(row[0])

    def _insert(self, job: NewJob, name: str, max_retries: int, now_ms: int) -> bool:
        """Returns whether the job was inserted; False if another job has the id or the key.

        Raises DatabaseUnusableError if it was ignored: SQLite reports no error for that.
        """
        try:
            inserted = self._database.change(
                "enqueue",
                id=name,
                queue=job.queue,
                priority=job.priority,
                requires=job.requires,
                command=job.command,
                options=job.options,
                blocked=job.hold + 2 * job.waits,
                next_run_at=job.due_ms(now_ms),
                max_retries=max_retries if job.max_retries is None else job.max_retries,
                slots=job.slots,
                **job.unique(now_ms),
                expires_at=job.expires_ms(now_ms),
                labels=job.labels,
                key=job.key,
                key_limit=job.key_limit,
                key_rate_starts=job.key_rate and job.key_rate[0],
                key_rate_ms=job.key_rate and job.key_rate[1],
                submitted_by=_user_name(),
                array_id=job.array_id,
                now=now_ms,
            )
        except apsw.ConstraintError as error:
            if error.extendedresult != apsw.SQLITE_CONSTRAINT_UNIQUE:  # type: ignore[attr-defined]  # not in apsw's stubs
                raise
            return False
        if not inserted:
            msg = "the database ignores new jobs: it has a trigger of another program"
            msg += "; remove that (queuectl db check has its name)"
            raise DatabaseUnusableError(msg)
        if job.stdin:
            self._database.run("put_input", id=name, content=job.stdin)
        return True


@cache
def _user_name() -> str:
    """Returns the name of the user of this process; its number if it has none.

    Of root also if it works with the rights of the database's owner. For people only: each user
    that can write the file can write any name there.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
