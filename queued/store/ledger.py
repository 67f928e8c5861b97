"""The interface of a database engine for the dispatcher.

Every engine implements it. `now_ms` is the wall clock in milliseconds UTC.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from queued.core.lease import IdleRenewal, Renewal
from queued.core.model import Instance, Label, NewJob, State
from queued.core.records import MANY, Lane, PruneStep, Share, SnapshotHolder
from queued.core.runs import Chunk, Claim, HeldRun, Key, SignalRequest
from queued.core.settlement import Settlement
from queued.store.firings import Firings
from queued.store.protocols import OpenDatabase
from queued.store.queues import QueueLedger


class Ledger(OpenDatabase, Protocol):
    """The verbs of the dispatcher.

    All but `transaction`, `connections`, `renew_idle`, `backlog_bytes`, `snapshot_holders`,
    `version` and `close` must run inside a transaction, and so must those of `schedules`.
    """

    schedules: Firings

    @property
    def queues(self) -> QueueLedger:
        """What the dispatcher reads about queues as such."""
        ...

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

    def host_ms(self, at_ms: int | None) -> int | None:
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

        An instance whose jobs were taken over never lives again, and can write nothing more. Raises
        DatabaseUnusableError if the tables were upgraded beyond what this program works with.
        """
        ...

    def renew_idle(self, instance: str, lanes: Sequence[int]) -> IdleRenewal | None:
        """Renews a lease by one statement, outside of a transaction; returns None as `renew` does.

        `lanes` are those whose jobs the instance may claim.
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
        """Makes at most `limit` due jobs claimable; returns when the next job becomes due.

        Before that it moves jobs that wait for others which have ended or were retried, a bounded
        number of them. Jobs with a key are claimable if it has a place for them. While some of this
        is left to do, it returns `now_ms` or a time soon after it.
        """
        ...

    def next_expiry(self) -> int | None:
        """Returns when the next pending job expires. Call it after `promote`."""
        ...

    def expire(self, instance: str, token: int, *, now_ms: int, limit: int) -> list[Claim]:
        """Claims at most `limit` expired jobs; the caller settles them in the same transaction.

        They get the tokens from `token` on in order, and the worker 0.
        """
        ...

    def relabel(self, instance: str, labels: str) -> None:
        """Stores the labels of an instance, as `labels.joined` returns them."""
        ...

    def lanes(self, *, after: int) -> list[Lane]:
        """Returns the lanes with larger numbers than `after`; later ones get larger numbers."""
        ...

    def claim(  # noqa: PLR0913 - the values of one statement
        self,
        instance: str,
        workers: Sequence[int],
        token: int,
        *,
        now_ms: int,
        shares: Sequence[Share] = (Share(),),
        idle: int = MANY,
    ) -> list[Claim]:
        """Claims the first ready jobs of each share, at most one for each of `workers` in all.

        It claims no job of a paused queue, and none for which its queue has no place. The jobs get
        the workers and tokens from `token` on in order; later tokens must be larger. Only the first
        `idle` workers start a job at once, so that only they may get one whose key has a rate.
        """
        ...

    def set_hungry(self, instance: str, *, hungry: bool) -> None:
        """Notes whether the instance has fewer jobs than workers, and so must learn of new ones."""
        ...

    def input(self, job: int) -> bytes:
        """Returns the standard input of a job; empty if it has none."""
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

    def enqueue(self, jobs: Sequence[NewJob], *, max_retries: int, now_ms: int) -> bool:
        """Stores jobs in the transaction that ended others; see `Store.enqueue`.

        Returns whether `lanes` has new ones.
        """
        ...

    def restore_claim(
        self, instance: str, worker: int, run: HeldRun, *, claimed_ms: int, now_ms: int
    ) -> bool | None:
        """Records the claim of a run again that a failover has lost; returns whether it did.

        Returns False if the job has changed since the claim, and None if there is no such job.
        """
        ...

    def interruptions(self, job: int) -> int:
        """Returns how many runs of the job were interrupted since one ended in another way."""
        ...

    def deferrals(self, job: int) -> int:
        """Returns how many runs of the job were deferred since one ended in another way."""
        ...

    def unclaim(self, key: Key, *, now_ms: int) -> bool:
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

    def take_signals(self, instance: str, workers: Sequence[int]) -> list[SignalRequest]:
        """Returns the signals to send to runs of the instance, and deletes their requests.

        The requests for runs of other workers than `workers` stay.
        """
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
