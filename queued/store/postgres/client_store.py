"""The verbs of queuectl over PostgreSQL."""

import errno
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from queued.core import ids, labels
from queued.core.errors import CommitUnknownError, ConflictError, NotFoundError
from queued.core.model import Instance, NewJob, OnTakenKey, State
from queued.core.records import Attempt, Job, JobFilter, Summary, WorkerStatus
from queued.core.runs import Chunk
from queued.store import job_names, rows
from queued.store.postgres.connection import Database, Row
from queued.store.postgres.error_names import damaged
from queued.store.postgres.new_jobs import NewJobs, described
from queued.store.postgres.numbers import numbers
from queued.store.postgres.ownership import must_be_own
from queued.store.postgres.queues import StoreQueues
from queued.store.postgres.selection import Selection
from queued.store.selecting import Span

if TYPE_CHECKING:
    from queued.core.dependencies import Dependency
    from queued.store.dependencies import Dependencies
    from queued.store.edits import Edits
    from queued.store.protocols import Watcher
    from queued.store.pruning import Removal
    from queued.store.schedules import Schedules

_GENERATED = f"^[{ids.ALPHABET}]{{{ids.LENGTH}}}$"


class PostgresStore:
    """A `Store` in one schema of a PostgreSQL database, which exists; see `upgrade`."""

    backup_path: str | None = None  # the server's administrator makes backups

    def __init__(
        self, url: str, limit_s: float | None = None, on_wait: Callable[[float], None] | None = None
    ) -> None:
        self._database = Database(
            url, application="queuectl", serving=False, limit_s=limit_s, on_wait=on_wait
        )
        self._new_jobs, self.queues = NewJobs(self._database), StoreQueues(self._database)
        self._selection = Selection(self._database)
        self.numbers = numbers(self._database)

    @cached_property
    def edits(self) -> "Edits":
        """See `Store.edits`."""
        from queued.store.postgres.edits import PostgresEdits

        return PostgresEdits(self._database, self._new_jobs)

    @cached_property
    def _dependencies(self) -> "Dependencies":
        from queued.store.dependencies import Dependencies

        return Dependencies(self._database, list)

    # Enqueueing

    def enqueue(
        self,
        jobs: Iterable[NewJob],
        *,
        max_retries: int,
        now_ms: int,
        skip_existing: bool = False,
        on_taken_key: OnTakenKey = "keep",
    ) -> Sequence[str]:
        """See `Store.enqueue`."""
        given, added = list(jobs), list[str]()
        now_ms = min(now_ms, self._database.now_ms())
        made = any(job.queue != "default" or job.requires for job in given) and (
            self._database.repeated(lambda: self._new_jobs.make_lanes(given), "enqueuer")
        )

        def insert() -> None:
            admitted = self.queues.admit(given)
            added[:] = self._new_jobs.insert(
                admitted,
                max_retries=max_retries,
                now_ms=now_ms,
                skip_existing=skip_existing,
                on_taken_key=on_taken_key,
            )

        try:
            self._database.repeated(insert, "enqueuer")
        except CommitUnknownError as error:
            msg = f"{error}; {described(added)} may have been added: look before you enqueue again"
            raise CommitUnknownError(msg) from error
        self._database.notify("notify_all" if made else "notify_hungry")
        return added

    # Reading

    def find(self, name: str) -> int:
        """See `Store.find`."""
        with self._database.reading():
            return job_names.find(self._database, name, _GENERATED)

    def show(self, job: int) -> Job:
        """See `Store.show`."""
        with self._database.reading():
            return self._show(job)

    def _show(self, job: int) -> Job:
        row = self._database.row("show", job=job)
        if row is None:
            msg = "the job was removed meanwhile"
            raise NotFoundError(msg)
        with self._valid_rows():
            return rows.job(row)

    @contextmanager
    def _valid_rows(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise damaged(self._database.address.shown, error) from error

    def dependencies(self, job: int, *, limit: int) -> "Sequence[Dependency]":
        """See `Store.dependencies`."""
        with self._database.reading():
            return self._dependencies.of(job, limit=limit)

    def attempts(self, job: int) -> Sequence[Attempt]:
        """See `Store.attempts`."""
        with self._database.reading(), self._valid_rows():
            return [rows.attempt(row) for row in self._database.rows("attempts", job=job)]

    def last_attempts(self, jobs: Sequence[Job]) -> dict[int, Attempt]:
        """See `Store.last_attempts`."""
        seqs, numbers = [job.seq for job in jobs], [job.runs for job in jobs]
        with self._database.reading():
            found = self._database.rows("last_attempts", jobs=seqs, numbers=numbers)
        with self._valid_rows():
            return {row[0]: rows.attempt(row[1:]) for row in found}

    def list(
        self,
        wanted: JobFilter,
        *,
        limit: int | None = None,
        reverse: bool = False,
        after: int | None = None,
    ) -> Iterator[Job]:
        """See `Store.list`."""
        found = self._selection.matching("list", wanted, Span(limit, reverse, after))
        with self._valid_rows():
            yield from map(rows.job, found)

    def select(self, wanted: JobFilter) -> Sequence[int]:
        """See `Store.select`."""
        return array("q", (row[0] for row in self._selection.matching("select", wanted)))

    def status(self, *, now_ms: int) -> Summary:
        """See `Store.status`."""
        with self._database.reading():
            found = self._database.rows("status")
            overdue = self._database.rows("overdue", now=now_ms)
            completed = self._database.value("completed_since", since=now_ms - 60_000, now=now_ms)
            oldest = self._database.value("oldest_due", now=now_ms)
        return rows.summary(found, overdue, completed, oldest)

    def completed(self, *, since_ms: int, now_ms: int) -> int:
        """See `Store.completed`."""
        with self._database.reading():
            return int(self._database.value("completed_since", since=since_ms, now=now_ms))

    def output(self, job: int, attempt: int, stream: int, start: int = 0) -> Iterator[Chunk]:
        """See `Store.output`."""
        key = {"job": job, "attempt": attempt, "stream": stream}
        while True:
            with self._database.reading():
                page = self._database.rows("output", **key, **{"from": start}, limit=16)
            if not page:
                return
            yield from (Chunk(*row) for row in page)
            start = page[-1][1] + 1

    # Moving

    def cancel(self, job: int, *, now_ms: int) -> State | None:
        """See `Store.cancel`."""

        def cancel() -> Sequence[Row]:
            found = self._database.rows("cancel", jobs=[job], now=now_ms)
            if not found:
                must_be_own(self._database, job, State.PENDING, State.PROCESSING)
            return found

        moved = self._cancelled(cancel)
        return moved[0][1] if moved else None

    def cancel_all(
        self, jobs: Sequence[int], wanted: JobFilter, *, now_ms: int
    ) -> Sequence[tuple[str, State]]:
        """See `Store.cancel_all`."""

        def cancel() -> Sequence[Row]:
            still = self._selection.still(jobs, wanted)
            return self._database.rows("cancel", jobs=still, now=now_ms)

        return self._cancelled(cancel)

    def _cancelled(self, cancel: Callable[[], Sequence[Row]]) -> Sequence[tuple[str, State]]:
        rows = sorted(self._database.repeated(cancel, "enqueuer"))
        moved = [(name, State(state)) for _, name, state in rows]
        if any(state is State.PROCESSING for _, state in moved):
            self._database.notify("notify_all")
        elif moved:
            self._database.notify("notify_hungry")  # dependents may be ready
        return moved

    def retry(self, jobs: Iterable[int], *, now_ms: int) -> Sequence[str]:
        """See `Store.retry`."""
        wanted, now_ms = [*dict.fromkeys(jobs)], min(now_ms, self._database.now_ms())

        def retry() -> Sequence[str]:
            self._database.run("lock_dependencies")
            if conflict := self._database.row("key_conflicts", jobs=wanted):
                raise rows.key_conflict(*conflict[:3])
            names: dict[int, str] = dict(self._database.rows("retry", jobs=wanted, now=now_ms))
            for job in wanted:
                if job not in names:
                    must_be_own(self._database, job, State.DEAD, State.CANCELLED)
                    found = self._show(job)
                    msg = f"{found.id} is {found.label}, not dead; nothing was retried"
                    raise ConflictError(msg)
            self._dependencies.wait_again(wanted)
            return [names[job] for job in wanted]

        retried = self._database.repeated(retry, "enqueuer")
        self._database.notify("notify_hungry")
        return retried

    def retry_all(self, jobs: Sequence[int], wanted: JobFilter, *, now_ms: int) -> Sequence[str]:
        """See `Store.retry_all`."""
        now_ms = min(now_ms, self._database.now_ms())

        def retry() -> Sequence[Row]:
            self._database.run("lock_dependencies")
            still = self._selection.still(jobs, wanted)
            taken = [row[3] for row in self._database.rows("key_conflicts", jobs=still)]
            retried = self._database.rows("retry", jobs=[*{*still} - {*taken}], now=now_ms)
            self._dependencies.wait_again([seq for seq, _ in retried])
            return retried

        retried = sorted(self._database.repeated(retry, "enqueuer"))
        self._database.notify("notify_hungry")
        return [name for _, name in retried]

    # Removing

    def purge(self, jobs: Sequence[int], wanted: JobFilter) -> "Removal":
        """See `Store.purge`."""
        from queued.store.postgres.pruning import remove

        with self._database.transaction("operator"):
            self._database.change("purge", jobs=[])  # without the right, no job might be locked
            still = self._selection.still(jobs, wanted.ended())
            return remove(self._database, self._dependencies.removable(still))

    # Settings

    def config(self) -> dict[str, str]:
        """See `Store.config`."""
        with self._database.reading():
            return dict(self._database.rows("config"))

    def config_set(self, key: str, value: str, *, now_ms: int) -> None:
        """See `Store.config_set`."""
        with self._database.transaction("operator"):
            self._database.run("config_set", key=key, value=value, now=now_ms)
        self._database.notify("notify_all")

    def config_unset(self, key: str) -> bool:
        """See `Store.config_unset`."""
        with self._database.transaction("operator"):
            found = self._database.row("config_unset", key=key) is not None
        self._database.notify("notify_all")
        return found

    # Services

    def instances(self) -> Sequence[Instance]:
        """See `Store.instances`."""
        with self._database.reading():
            return [Instance(*row) for row in self._database.rows("instances")]

    def workers(self) -> Sequence[WorkerStatus]:
        """See `Store.workers`."""
        with self._database.reading():
            return [WorkerStatus(*row) for row in self._database.rows("workers")]

    def stop(self, instance: str, *, now_ms: int) -> None:
        """See `Store.stop`."""
        with self._database.transaction("operator"):
            self._database.run("stop", id=instance, now=now_ms)
        self._database.notify("notify_all")

    @property
    def schedules(self) -> "Schedules":
        """See `Store.schedules`."""
        from queued.store.postgres.schedules import schedules

        return schedules(self._database)

    # Hosts

    def drain(self, host: str, *, now_ms: int) -> None:
        """See `Store.drain`."""
        with self._database.transaction("operator"):
            self._database.run("drain", host=host, now=now_ms)
        self._database.notify("notify_all")

    def resume(self, host: str) -> bool:
        """See `Store.resume`."""
        with self._database.transaction("operator"):
            found = self._database.row("resume", host=host) is not None
        self._database.notify("notify_all")
        return found

    def drained_hosts(self) -> dict[str, int]:
        """See `Store.drained_hosts`."""
        with self._database.reading():
            return dict(self._database.rows("drained_hosts"))

    def required_now(self) -> Sequence[frozenset[str]]:
        """See `Store.required_now`."""
        with self._database.reading():
            return [labels.split(text) for (text,) in self._database.rows("required_now")]

    def version(self) -> int:
        """See `Database.version`."""
        return self._database.version()

    def watcher(self) -> "Watcher":
        """Raises OSError: the server tells this program nothing without being asked."""
        raise OSError(errno.EOPNOTSUPP, "a server reports no changes")

    def close(self) -> None:
        """See `Store.close`."""
        self._database.close()
