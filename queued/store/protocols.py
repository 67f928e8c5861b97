"""The interface of a database engine for queuectl, and the part that it shares with `Ledger`.

Every engine implements it. `now_ms` is the wall clock in milliseconds UTC.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from queued.core.dependencies import Dependency
from queued.core.model import Instance, NewJob, OnTakenKey, State
from queued.core.records import Attempt, Job, JobFilter, Summary, WorkerStatus
from queued.core.runs import Chunk
from queued.store.edits import Edits
from queued.store.numbers import Numbers
from queued.store.pruning import Removal
from queued.store.queues import QueueStore

if TYPE_CHECKING:
    from queued.store.schedules import Schedules


class DatabaseEvents(NamedTuple):
    """The changes to a database that are possible since the last read."""

    database: bool  # a commit is being made, or its files were removed or replaced
    locks: bool  # an instance of this host has ended, or its lock file was removed or replaced


class Watcher(Protocol):
    """Reports that a database may have changed, so that no process needs to poll it."""

    def fileno(self) -> int:
        """Returns a descriptor that is readable while events are waiting."""
        ...

    def read(self) -> DatabaseEvents:
        """Returns what happened since the last read; does not wait."""
        ...

    def close(self) -> None:
        """Stops watching."""
        ...


class OpenDatabase(Protocol):
    """The verbs that `Store` and `Ledger` share."""

    def config(self) -> dict[str, str]:
        """Returns the stored settings."""
        ...

    def drained_hosts(self) -> dict[str, int]:
        """Returns the drained hosts, and since when, in milliseconds UTC."""
        ...

    def required_now(self) -> Sequence[frozenset[str]]:
        """Returns the distinct sets of labels that ready jobs require."""
        ...

    def version(self) -> int:
        """Returns a number that changes whenever another connection has committed."""
        ...

    def watcher(self) -> Watcher:
        """Returns a watcher of this database. Raises OSError where the system has none to give."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


class Store(OpenDatabase, Protocol):
    """The verbs of queuectl. `backup_path` is of a copy that was made before an upgrade."""

    backup_path: str | None

    @property
    def numbers(self) -> Numbers:
        """The numbers about all runs."""
        ...

    @property
    def queues(self) -> QueueStore:
        """The verbs for queues as such."""
        ...

    @property
    def edits(self) -> Edits:
        """Returns the verbs for single jobs that are seldom used."""
        ...

    @property
    def schedules(self) -> "Schedules":
        """The verbs of schedules."""
        ...

    def enqueue(
        self,
        jobs: Iterable[NewJob],
        *,
        max_retries: int,
        now_ms: int,
        skip_existing: bool = False,
        on_taken_key: OnTakenKey = "keep",
    ) -> Sequence[str]:
        """Stores all jobs or none; returns the ids of those that were added, in order.

        `max_retries` applies to jobs that do not give it. In place of a job whose unique key is
        taken, returns an ExistingJob; see `OnTakenKey`. If a job with a given id exists, the new
        one is skipped if `skip_existing`; else raises DuplicateJobError with the index of the job.
        Raises NotFoundError if a job is to wait for one that does not exist, UsageError if jobs
        wait for each other.
        """
        ...

    def find(self, name: str) -> int:
        """Returns the row number of the job with this id, or with a generated id of this prefix.

        Raises NotFoundError, or UsageError if several generated ids have the prefix.
        """
        ...

    def show(self, job: int) -> Job:
        """Returns a job by its row number. Raises NotFoundError if the job has been removed."""
        ...

    def dependencies(self, job: int, *, limit: int) -> Sequence[Dependency]:
        """Returns what a job waits for, the conditions that are not met first."""
        ...

    def attempts(self, job: int) -> Sequence[Attempt]:
        """Returns all runs of a job, first to last."""
        ...

    def last_attempts(self, jobs: Sequence[Job]) -> dict[int, Attempt]:
        """Returns the last run of each job, by row number; without the jobs that have not run."""
        ...

    def list(
        self,
        wanted: JobFilter,
        *,
        limit: int | None = None,
        reverse: bool = False,
        after: int | None = None,
    ) -> Iterator[Job]:
        """Yields the jobs that match in the order of enqueueing, or newest first.

        Begins after the job in row `after`, in that order. Between pages no transaction is open.
        """
        ...

    def select(self, wanted: JobFilter) -> Sequence[int]:
        """Returns the row numbers of the jobs that match, in the order of enqueueing."""
        ...

    def status(self, *, now_ms: int) -> Summary:
        """Returns the counts of jobs, and how many completed in the minute before `now_ms`."""
        ...

    def completed(self, *, since_ms: int, now_ms: int) -> int:
        """Counts the runs that completed their job after `since_ms` and until `now_ms`."""
        ...

    def output(self, job: int, attempt: int, stream: int, start: int = 0) -> Iterator[Chunk]:
        """Yields the stored pieces of a stream from position `start` on."""
        ...

    def cancel(self, job: int, *, now_ms: int) -> State | None:
        """Cancels a pending job (returns CANCELLED) or requests the end of a running one.

        Returns PROCESSING for a running job, None for a job in any other state.
        """
        ...

    def cancel_all(
        self, jobs: Sequence[int], wanted: JobFilter, *, now_ms: int
    ) -> Sequence[tuple[str, State]]:
        """Does in one transaction what `cancel` does with those of the jobs that still match.

        Returns the ids of the jobs that were cancelled or asked to end, each with its state then.
        """
        ...

    def retry(self, jobs: Iterable[int], *, now_ms: int) -> Sequence[str]:
        """Makes dead or cancelled jobs pending, all or none; returns their ids.

        Raises ConflictError.
        """
        ...

    def retry_all(self, jobs: Sequence[int], wanted: JobFilter, *, now_ms: int) -> Sequence[str]:
        """Does in one transaction what `retry` does with those of the jobs that still match.

        Leaves out those that cannot be retried; returns the ids of the others.
        """
        ...

    def purge(self, jobs: Sequence[int], wanted: JobFilter) -> Removal:
        """Removes which of the jobs have ended and still match, a bounded part in one transaction.

        If the removal is not complete, the same call removes more of them.
        """
        ...

    def config_set(self, key: str, value: str, *, now_ms: int) -> None:
        """Stores a setting."""
        ...

    def config_unset(self, key: str) -> bool:
        """Deletes a stored setting; returns whether there was one."""
        ...

    def instances(self) -> Sequence[Instance]:
        """Returns all registered instances, dead or alive."""
        ...

    def workers(self) -> Sequence[WorkerStatus]:
        """Returns the workers of all instances and the jobs that they run."""
        ...

    def stop(self, instance: str, *, now_ms: int) -> None:
        """Requests that an instance drains and exits."""
        ...

    def drain(self, host: str, *, now_ms: int) -> None:
        """Keeps the services of a host from claiming jobs, until `resume`."""
        ...

    def resume(self, host: str) -> bool:
        """Undoes `drain`; returns whether the host was drained."""
        ...
