"""What any database of the queue must do. `Store` serves queuectl, `Ledger` the dispatcher.

No word of SQLite here: another engine implements the same two and passes the same tests.
`now_ms` is always given by the caller.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from queued.core.model import (
    Attempt,
    Chunk,
    Claim,
    Ending,
    Instance,
    Job,
    JobFilter,
    Key,
    Label,
    NewJob,
    State,
    Summary,
    WorkerStatus,
)
from queued.core.settlement import Verdict


class Settlement(NamedTuple):
    """How the run of a claim ended, and what that makes of its job."""

    claim: Claim
    ending: Ending
    verdict: Verdict


class PruneStep(NamedTuple):
    """A step of a walk over the ended jobs of one state, and where to go on."""

    removed: int
    after: int
    done: bool
    oldest_ms: int | None  # the earliest end among those that it saw and that stay


class Store(Protocol):
    """The verbs of queuectl."""

    def enqueue(self, jobs: Iterable[NewJob], *, max_retries: int, now_ms: int) -> Sequence[str]:
        """Stores all or none; returns the ids in order.

        `max_retries` is for jobs that do not say. Raises DuplicateJobError with the job's index.
        """
        ...

    def find(self, name: str) -> int:
        """The row of the job with this id, or with the only id of our making that begins so.

        Raises NotFoundError, or UsageError if several begin so.
        """
        ...

    def show(self, job: int) -> Job:
        """A job by its row. Raises NotFoundError if it was removed meanwhile."""
        ...

    def attempts(self, job: int) -> Sequence[Attempt]:
        """All runs of a job, first to last."""
        ...

    def list(self, wanted: JobFilter, *, limit: int | None = None) -> Iterator[Job]:
        """Jobs in the order of enqueueing. Reads page by page and never holds a view open."""
        ...

    def status(self, *, now_ms: int) -> Summary:
        """How many jobs stand where."""
        ...

    def output(self, job: int, attempt: int, stream: int, start: int = 0) -> Iterator[Chunk]:
        """The kept pieces of a stream from position `start` on."""
        ...

    def cancel(self, job: int, *, now_ms: int) -> State | None:
        """Ends a pending job (CANCELLED) or asks a running one to end (PROCESSING).

        None if it is neither.
        """
        ...

    def retry(self, jobs: Iterable[int], *, now_ms: int) -> Sequence[str]:
        """Dead or cancelled jobs back to pending, all or none. Raises ConflictError."""
        ...

    def retry_all(self, *, now_ms: int) -> Sequence[str]:
        """All dead jobs back to pending; their ids."""
        ...

    def ended(self, state: State, *, queue: str | None, before_ms: int) -> int:
        """How many jobs of a queue (None: of all) ended in a final state before a time."""
        ...

    def purge(self, state: State, *, queue: str | None, before_ms: int) -> Iterator[int]:
        """Removes them in batches, each whole or not at all; yields how many each removed."""
        ...

    def config(self) -> dict[str, str]:
        """The stored settings."""
        ...

    def config_set(self, key: str, value: str, *, now_ms: int) -> None:
        """Stores a setting."""
        ...

    def config_unset(self, key: str) -> bool:
        """Forgets a stored setting; whether there was one."""
        ...

    def instances(self) -> Sequence[Instance]:
        """All that are registered, dead or alive."""
        ...

    def workers(self) -> Sequence[WorkerStatus]:
        """The workers of all instances and what they run."""
        ...

    def stop(self, instance: str, *, now_ms: int) -> None:
        """Asks an instance to drain and exit."""
        ...

    def version(self) -> int:
        """Changes whenever somebody else has committed."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


class Ledger(Protocol):
    """The verbs of the dispatcher; all but `transaction` are called inside one."""

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """One turn's writes, all or none.

        When it ends without an error they survive a crash of ours, and if `durable` a power cut.
        """
        ...

    def register(self, instance: Instance, *, now_ms: int) -> None:
        """Makes the instance known; again after a dispatcher died is no error."""
        ...

    def unregister(self, instance: str) -> bool:
        """Forgets an instance that has no claims left; whether it was forgotten."""
        ...

    def instances(self) -> list[Instance]:
        """Returns all instances that are registered or have claims in force, dead or alive.

        Of an instance without a row only the id is known.
        """
        ...

    def instance(self, instance: str) -> Instance | None:
        """Returns the row of an instance; None if it is not registered."""
        ...

    def worker_started(self, instance: str, worker: int, pid: int, *, now_ms: int) -> None:
        """Shows a worker to queuectl."""
        ...

    def worker_gone(self, instance: str, worker: int) -> None:
        """Shows it no more."""
        ...

    def promote(self, *, now_ms: int, limit: int) -> int | None:
        """Makes what has become due claimable; returns when the next job becomes due."""
        ...

    def claim(
        self, instance: str, workers: Sequence[int], token: int, *, now_ms: int
    ) -> list[Claim]:
        """Takes the first ready jobs, one for each of `workers`, in their order; fewer if need be.

        The first claim has this token, the next ones those that follow it. Of an instance's claims
        a later one has the larger token.
        """
        ...

    def store_output(self, key: Key, chunk: Chunk) -> None:
        """Keeps a piece of output while the claim is in force."""
        ...

    def trim_output(self, key: Key, stream: int, *, head_end: int, tail_start: int) -> None:
        """Drops the pieces between the kept head and the kept tail."""
        ...

    def settle(self, endings: Sequence[Settlement], *, now_ms: int) -> list[State | None]:
        """Records how claims ended. For each what its job is now; None: it is not in force."""
        ...

    def interruptions(self, job: int) -> int:
        """Returns how many runs of the job were interrupted since one ended in another way."""
        ...

    def release(self, key: Key, *, now_ms: int) -> bool:
        """Makes a claim that was never started undone; False if it is to be cancelled, or lost."""
        ...

    def running_claims(self, instance: str) -> list[Claim]:
        """What the instance has claimed and not settled, in the order of claiming."""
        ...

    def cancel_requests(self, instance: str) -> list[Key]:
        """Which of its claims are to be cancelled."""
        ...

    def prune(self, state: State, *, after: int, before_ms: int, limit: int) -> PruneStep:
        """Looks at so many jobs after the row `after`, 0 for the first.

        Removes those that ended in a final state before a time.
        """
        ...

    def counts(self) -> dict[Label, int]:
        """How many jobs have each label, each counted once; one that has none may be missing."""
        ...

    def shift_clock(self, *, boot_id: str, offset_ms: int, tolerance_ms: int) -> int:
        """Moves waiting retries along when the wall clock was set; by how many milliseconds.

        `offset_ms` is the wall clock less the time since boot.
        """
        ...

    def config(self) -> dict[str, str]:
        """The stored settings."""
        ...

    def backlog_bytes(self) -> int:
        """How much of what was written lately is kept until nobody reads what was before.

        May be called outside a transaction.
        """
        ...

    def version(self) -> int:
        """Changes whenever somebody else has committed."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...
