"""The verbs of queuectl over SQLite."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from queued.core import ids, labels
from queued.core.errors import ConflictError, NotFoundError
from queued.core.model import Instance, NewJob, OnTakenKey, State
from queued.store.sqlite import upgrade
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.connection import Access, Database
from queued.store.sqlite.error_names import damaged
from queued.store.sqlite.new_jobs import NewJobs
from queued.store.sqlite.queues import SqliteQueues
from queued.store.statements import texts

if TYPE_CHECKING:
    from queued.core.dependencies import Dependency
    from queued.core.records import Attempt, Job, JobFilter, Summary, WorkerStatus
    from queued.core.runs import Chunk
    from queued.store.change_watcher import ChangeWatcher
    from queued.store.dependencies import Dependencies
    from queued.store.edits import Edits
    from queued.store.numbers import Numbers
    from queued.store.pruning import Removal
    from queued.store.schedules import Schedules
    from queued.store.sqlite.selection import Selection

_OUTPUT_PAGE = 16
_LATELY_MS = 60_000


class SqliteStore:
    """A `Store` in one SQLite file, which is created if it does not exist."""

    def __init__(
        self,
        path: str,
        busy_handler: BusyHandler | None = None,
        access: Access = Access.CREATE,
    ) -> None:
        self._database = Database(path, busy_handler or BusyHandler(), upgrade.migrate, access)
        self._database.make_interruptible()
        self._new_jobs = NewJobs(self._database)
        self.queues = SqliteQueues(self._database)
        self.backup_path = self._database.backup_path  # made before an upgrade

    @cached_property
    def edits(self) -> "Edits":
        """See `Store.edits`."""
        from queued.store.sqlite.edits import SqliteEdits

        return SqliteEdits(self._database, self._new_jobs)

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
        given = list(jobs)
        with self._database.transaction():
            given = self.queues.admit(given)
            self._new_jobs.make_lanes(given)
            return self._new_jobs.insert(
                given,
                max_retries=max_retries,
                now_ms=now_ms,
                skip_existing=skip_existing,
                on_taken_key=on_taken_key,
            )

    # Reading

    @property
    def numbers(self) -> "Numbers":
        """See `Store.numbers`."""
        from queued.store.sqlite.numbers import numbers

        return numbers(self._database)

    def find(self, name: str) -> int:
        """See `Store.find`."""
        from queued.store import job_names

        form = name + f"[{ids.ALPHABET}]" * (ids.LENGTH - len(name))
        with self._database.named_errors():
            return job_names.find(self._database, name, form)

    def show(self, job: int) -> "Job":
        """See `Store.show`."""
        with self._database.named_errors():
            row = self._database.row("show", job=job)
        if row is None:
            msg = "the job was removed meanwhile"
            raise NotFoundError(msg)
        from queued.store import rows

        with self._valid_rows():
            return rows.job(row)

    @contextmanager
    def _valid_rows(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise damaged(self._database.path, error) from error

    def dependencies(self, job: int, *, limit: int) -> "Sequence[Dependency]":
        """See `Store.dependencies`."""
        with self._database.reading():
            return self._dependencies.of(job, limit=limit)

    def attempts(self, job: int) -> "Sequence[Attempt]":
        """See `Store.attempts`."""
        from queued.store import rows

        with self._database.named_errors(), self._valid_rows():
            return [rows.attempt(row) for row in self._database.rows("attempts", job=job)]

    def last_attempts(self, jobs: "Sequence[Job]") -> "dict[int, Attempt]":
        """See `Store.last_attempts`."""
        from queued.store import rows

        runs = [{"job": job.seq, "number": job.runs} for job in jobs if job.runs]
        with self._database.reading():
            found = self._database.rows_each("last_attempt", runs)
        with self._valid_rows():
            return {row[0]: rows.attempt(row[1:]) for row in found}

    def list(
        self,
        wanted: "JobFilter",
        *,
        limit: int | None = None,
        reverse: bool = False,
        after: int | None = None,
    ) -> "Iterator[Job]":
        """See `Store.list`."""
        from queued.store import rows
        from queued.store.selecting import Span

        found = self._selection.matching("list", wanted, Span(limit, reverse, after))
        with self._valid_rows():
            yield from map(rows.job, found)

    def select(self, wanted: "JobFilter") -> Sequence[int]:
        """See `Store.select`."""
        from array import array

        return array("q", (row[0] for row in self._selection.matching("select", wanted)))

    @cached_property
    def _selection(self) -> "Selection":
        from queued.store.sqlite.selection import Selection

        return Selection(self._database)

    def status(self, *, now_ms: int) -> "Summary":
        """See `Store.status`."""
        from queued.store import rows

        with self._database.reading():
            found = self._database.rows("status")
            overdue = self._database.rows("overdue", now=now_ms)
            since_ms = now_ms - _LATELY_MS
            completed = self._database.value("completed_since", since=since_ms, now=now_ms)
            oldest = self._database.value("oldest_due", now=now_ms)
        readable, due = ([texts(row, "replace") for row in lines] for lines in (found, overdue))
        return rows.summary(readable, due, completed, oldest)

    def completed(self, *, since_ms: int, now_ms: int) -> int:
        """See `Store.completed`."""
        with self._database.named_errors():
            return int(self._database.value("completed_since", since=since_ms, now=now_ms))

    def output(self, job: int, attempt: int, stream: int, start: int = 0) -> "Iterator[Chunk]":
        """See `Store.output`."""
        from queued.core.runs import Chunk

        while True:
            with self._database.named_errors():
                rows = self._database.rows(
                    "output",
                    job=job,
                    attempt=attempt,
                    stream=stream,
                    **{"from": start},
                    limit=_OUTPUT_PAGE,
                )
            if not rows:
                return
            yield from (Chunk(*row) for row in rows)
            start = rows[-1][1] + 1

    # Moving

    def cancel(self, job: int, *, now_ms: int) -> State | None:
        """See `Store.cancel`."""
        with self._database.transaction():
            return self._cancel(job, now_ms)[1]

    def cancel_all(
        self, jobs: Sequence[int], wanted: "JobFilter", *, now_ms: int
    ) -> Sequence[tuple[str, State]]:
        """See `Store.cancel_all`."""
        with self._database.transaction():
            moved = [self._cancel(job, now_ms) for job in self._selection.still(jobs, wanted)]
        return [(name, state) for name, state in moved if state is not None]

    def _cancel(self, job: int, now_ms: int) -> tuple[str, State | None]:
        if row := self._database.row("cancel", job=job, now=now_ms):
            return row[0], State.CANCELLED
        if row := self._database.row("cancel_running", job=job, now=now_ms):
            return row[0], State.PROCESSING
        return "", None

    def retry(self, jobs: Iterable[int], *, now_ms: int) -> Sequence[str]:
        """See `Store.retry`."""
        retried = dict[int, str]()
        with self._database.transaction():
            for job in dict.fromkeys(jobs):
                if conflict := self._database.row("key_conflict", job=job):
                    from queued.store import rows

                    raise rows.key_conflict(*conflict)
                row = self._database.row("retry", job=job, now=now_ms)
                if row is None:
                    found = self.show(job)
                    msg = f"{found.id} is {found.label}, not dead; nothing was retried"
                    raise ConflictError(msg)
                retried[job] = str(row[0])
            self._dependencies.wait_again([*retried])
        return [*retried.values()]

    def retry_all(self, jobs: Sequence[int], wanted: "JobFilter", *, now_ms: int) -> Sequence[str]:
        """See `Store.retry_all`."""
        with self._database.transaction():
            still = self._selection.still(jobs, wanted)
            rows = {job: self._database.row("retry", job=job, now=now_ms) for job in still}
            retried = {job: str(row[0]) for job, row in rows.items() if row is not None}
            self._dependencies.wait_again([*retried])
        return [*retried.values()]

    # Removing

    def purge(self, jobs: Sequence[int], wanted: "JobFilter") -> "Removal":
        """See `Store.purge`."""
        from queued.store.sqlite.pruning import remove

        with self._database.transaction():
            still = self._selection.still(jobs, wanted.ended())
            return remove(self._database, self._dependencies.removable(still))

    # Settings

    def config(self) -> dict[str, str]:
        """See `Store.config`."""
        with self._database.named_errors():
            return self._database.settings()

    def config_set(self, key: str, value: str, *, now_ms: int) -> None:
        """See `Store.config_set`."""
        with self._database.transaction():
            self._database.run("config_set", key=key, value=value, now=now_ms)

    def config_unset(self, key: str) -> bool:
        """See `Store.config_unset`."""
        with self._database.transaction():
            return self._database.row("config_unset", key=key) is not None

    # Services

    def instances(self) -> Sequence[Instance]:
        """See `Store.instances`."""
        with self._database.named_errors():
            return [Instance(*row) for row in self._database.rows("instances")]

    def workers(self) -> "Sequence[WorkerStatus]":
        """See `Store.workers`."""
        from queued.core.records import WorkerStatus

        with self._database.named_errors():
            return [WorkerStatus(*row) for row in self._database.rows("workers")]

    def stop(self, instance: str, *, now_ms: int) -> None:
        """See `Store.stop`."""
        with self._database.transaction():
            self._database.run("stop", id=instance, now=now_ms)

    @property
    def schedules(self) -> "Schedules":
        """See `Store.schedules`."""
        from queued.store.sqlite.schedules import schedules

        return schedules(self._database)

    # Hosts

    def drain(self, host: str, *, now_ms: int) -> None:
        """See `Store.drain`."""
        with self._database.transaction():
            self._database.run("drain", host=host, now=now_ms)

    def resume(self, host: str) -> bool:
        """See `Store.resume`."""
        with self._database.transaction():
            return self._database.row("resume", host=host) is not None

    def drained_hosts(self) -> dict[str, int]:
        """See `Store.drained_hosts`."""
        with self._database.named_errors():
            return dict(self._database.rows("drained_hosts"))

    def required_now(self) -> "Sequence[frozenset[str]]":
        """See `Store.required_now`."""
        with self._database.named_errors():
            found = self._database.rows("required_now")
        return [labels.split(text.decode(errors="replace")) for (text,) in found]

    def version(self) -> int:
        """See `Store.version`."""
        with self._database.named_errors():
            return self._database.version()

    def watcher(self) -> "ChangeWatcher":
        """See `Store.watcher`."""
        from queued.store.change_watcher import ChangeWatcher

        return ChangeWatcher(self._database.path)

    @property
    def _dependencies(self) -> "Dependencies":
        from queued.store.dependencies import Dependencies  # few commands need it

        return Dependencies(self._database, str)

    def close(self) -> None:
        """See `Store.close`."""
        self._database.close()
