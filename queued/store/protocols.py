"""The interfaces of a database engine: `Store` for queuectl, `Ledger` for the dispatcher.

Every engine implements both. `now_ms` is the wall clock in milliseconds UTC.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from queued.core.lease import Renewal
from queued.core.model import Instance, Label, NewJob, State
from queued.core.records import (
    Attempt,
    Job,
    JobFilter,
    PruneStep,
    Shape,
    SnapshotHolder,
    Summary,
    WorkerStatus,
)
from queued.core.runs import Chunk, Claim, Key
from queued.core.settlement import Settlement


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

    def enqueue(
        self,
        jobs: Iterable[NewJob],
        *,
        max_retries: int,
        now_ms: int,
        skip_existing: bool = False,
    ) -> Sequence[str]:
        """Stores all jobs or none; returns the ids of those that were added, in order.

        `max_retries` applies to jobs that do not give it. If a job with a given id exists, the new
        one is skipped if `skip_existing`; else raises DuplicateJobError with the index of the job.
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

    def attempts(self, job: int) -> Sequence[Attempt]:
        """Returns all runs of a job, first to last."""
        ...

    def last_attempts(self, jobs: Sequence[Job]) -> dict[int, Attempt]:
        """Returns the last run of each job, by row number; without the jobs that have not run."""
        ...

    def list(self, wanted: JobFilter, *, limit: int | None = None) -> Iterator[Job]:
        """Yields jobs in the order of enqueueing; between pages no transaction is open."""
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

    def retry(self, jobs: Iterable[int], *, now_ms: int) -> Sequence[str]:
        """Makes dead or cancelled jobs pending, all or none; returns their ids.

        Raises ConflictError.
        """
        ...

    def retry_all(self, *, now_ms: int) -> Sequence[str]:
        """Makes all dead jobs pending; returns their ids."""
        ...

    def ended(self, state: State, *, queue: str | None, before_ms: int) -> int:
        """Counts the jobs of a queue (None: of all queues) that ended in `state` before a time."""
        ...

    def purge(self, state: State, *, queue: str | None, before_ms: int) -> Iterator[int]:
        """Removes the jobs that `ended` counts; yields how many each transaction removed."""
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


class Ledger(OpenDatabase, Protocol):
    """The verbs of the dispatcher.

    All but `transaction`, `connections`, `backlog_bytes`, `snapshot_holders`, `version` and `close`
    must run inside a transaction.
    """

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """Runs the writes of one turn, all or none.

        Writes that are committed survive a crash of the service, and if `durable` a power cut. An
        engine may make all of them durable. Raises CommitUnknownError if the caller must find out
        by `running_claims` and `settle` what was committed.
        """
        ...

    def now_ms(self) -> int:
        """Returns the wall clock of the queue, which is the same for all hosts."""
        ...

    def host_ms(self, at_ms: int) -> int:
        """Returns what the wall clock of this host shows when that of the queue shows `at_ms`."""
        ...

    def register(self, instance: Instance, *, now_ms: int) -> None:
        """Adds the row of the instance if there is none, and deletes the rows of its workers."""
        ...

    def unregister(self, instance: str) -> bool:
        """Deletes the row of an instance if it has no claims in force; returns whether it did."""
        ...

    def instances(self) -> list[Instance]:
        """Returns all instances that are registered or have claims in force, dead or alive.

        For an instance without a row, only the id is known.
        """
        ...

    def instance(self, instance: str) -> Instance | None:
        """Returns the row of an instance; None if it is not registered."""
        ...

    def connections(self) -> int:
        """Returns how many connections were made: on a new one the server may be another one."""
        ...

    def renew(self, instance: str) -> Renewal | None:
        """Renews the lease of an instance; returns None if its jobs were taken over.

        An instance whose jobs were taken over never lives again, and can write nothing more.
        """
        ...

    def trust_history(self, history: str) -> None:
        """Makes this the only history in which `claim` claims jobs; see `Renewal`."""
        ...

    def take_over(self, instance: Instance) -> bool:
        """Ends an instance of another host for ever, if it has not renewed its lease since `beat`.

        Returns whether it did. The caller settles its claims in the same transaction.
        """
        ...

    def worker_started(self, instance: str, worker: int, pid: int, *, now_ms: int) -> None:
        """Adds the row of a worker, which queuectl shows."""
        ...

    def worker_gone(self, instance: str, worker: int) -> None:
        """Deletes the row of a worker."""
        ...

    def promote(self, *, now_ms: int, limit: int) -> int | None:
        """Makes at most `limit` due jobs claimable; returns when the next job becomes due."""
        ...

    def relabel(self, instance: str, labels: str) -> None:
        """Stores the labels of an instance, as `labels.joined` returns them."""
        ...

    def shapes(self, *, after: int) -> list[Shape]:
        """Returns the shapes with larger numbers than `after`; later ones get larger numbers."""
        ...

    def claim(
        self,
        instance: str,
        workers: Sequence[int],
        token: int,
        *,
        now_ms: int,
        shapes: Sequence[int] = (0,),
    ) -> list[Claim]:
        """Claims the first ready jobs of these shapes, at most one for each of `workers`.

        The jobs get the workers and tokens from `token` on in order; later tokens must be larger.
        """
        ...

    def store_output(self, pieces: Sequence[tuple[Key, Chunk]]) -> None:
        """Stores pieces of output, each if its claim is in force."""
        ...

    def trim_output(self, key: Key, stream: int, *, head_end: int, tail_start: int) -> None:
        """Deletes the pieces between the kept head and the kept tail."""
        ...

    def settle(self, endings: Sequence[Settlement], *, now_ms: int) -> list[State | None]:
        """Records how claims ended; returns the new state of each job, None if not in force.

        An ending that an earlier call has recorded is not in force. If it was recorded by a commit
        that was unknown, the new state is returned again; see `recorded_before`.
        """
        ...

    def recorded_before(self, key: Key) -> bool:
        """Returns whether `settle` has found that an unknown commit had recorded this ending."""
        ...

    def enqueue(self, jobs: Sequence[NewJob], *, max_retries: int, now_ms: int) -> None:
        """Stores jobs in the transaction that ended others; see `Store.enqueue`."""
        ...

    def restore_claim(self, instance: str, claim: Claim, *, now_ms: int) -> bool | None:
        """Records a claim again that the database has lost in a failover; returns whether it did.

        Returns False if the job has changed since the claim, and None if there is no such job.
        """
        ...

    def interruptions(self, job: int) -> int:
        """Returns how many runs of the job were interrupted since one ended in another way."""
        ...

    def deferrals(self, job: int) -> int:
        """Returns how many runs of the job were deferred since one ended in another way."""
        ...

    def release(self, key: Key, *, now_ms: int) -> bool:
        """Undoes a claim whose run has not started; returns whether it was undone.

        A claim is not undone if a cancel was requested, or if it is not in force.
        """
        ...

    def running_claims(self, instance: str) -> list[Claim]:
        """Returns the claims of the instance that are in force, in the order of claiming."""
        ...

    def cancel_requests(self, instance: str) -> list[Key]:
        """Returns the claims of the instance for whose jobs a cancel was requested."""
        ...

    def prune(self, state: State, *, after: int, before_ms: int, limit: int) -> PruneStep:
        """Reads at most `limit` jobs after the row `after` (0: from the first).

        Removes those of them that ended in the final state `state` before a time.
        """
        ...

    def counts(self) -> dict[Label, int]:
        """Returns the number of jobs by label; a label without jobs may be missing."""
        ...

    def shift_clock(self, *, boot_id: str, offset_ms: int, tolerance_ms: int) -> int:
        """Moves the due times of retries if the wall clock was set; returns by how much, in ms.

        `offset_ms` is the wall clock less the time since boot. A change of at most `tolerance_ms`
        is ignored.
        """
        ...

    def backlog_bytes(self) -> int:
        """Returns the size of the write-ahead log, which grows while a read transaction is open."""
        ...

    def snapshot_holders(self) -> list[SnapshotHolder]:
        """Returns sessions that keep the server from removing dead rows, the oldest first."""
        ...
