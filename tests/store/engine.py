"""A database under test, seen through the two protocols that every engine implements."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from queued.core.fair_share import Policy
from queued.core.model import ENDED, PARTS_OF_PENDING, Instance, Label, NewJob, Outcome, State
from queued.core.records import Job, JobFilter, Queue, Share
from queued.core.runs import Claim, Ending
from queued.core.settlement import Backoff, Settlement, Verdict, judge
from queued.service.dispatcher.queue_claims import OpenQueues
from queued.store.ledger import Ledger
from queued.store.protocols import Store

NOW = 1_700_000_000_000
BACKOFF = Backoff(2.0, 3600.0, 0.0, 30.0)
OK = Ending(Outcome.EXIT, exit_code=0)
FAILED = Ending(Outcome.EXIT, exit_code=1, tail=b"no luck\n")


def plain_shares(ledger: Ledger, has: Collection[str] = ()) -> list[Share]:
    """All queues, with the lanes of jobs that require only labels of `has`."""
    lanes: dict[str, list[int]] = {}
    for lane in ledger.lanes(after=-1):
        if lane.requires <= set(has):
            lanes.setdefault(lane.queue, []).append(lane.number)
    limited = {one.name for one in ledger.queues.all() if one.concurrency is not None or one.rate}
    return [Share(name, numbers, limited=name in limited) for name, numbers in lanes.items()]


def open_queues(ledger: Ledger, has: Collection[str]) -> OpenQueues:
    """The queues that are not paused, with their lanes of `plain_shares`."""
    rows = {one.name: one for one in ledger.queues.all()}
    shares = [one for one in plain_shares(ledger, has) if _row(rows, one).paused_ms is None]
    limits = {one.queue: rows[one.queue].concurrency for one in shares if one.queue in rows}
    return OpenQueues(
        {one.queue: tuple(one.lanes) for one in shares},
        {one.queue: Policy(0, _row(rows, one).weight, one.limited) for one in shares},
        {name: limit for name, limit in limits.items() if limit is not None},
        frozenset(one.queue for one in shares if _row(rows, one).rate is not None),
    )


def _row(rows: Mapping[str, Queue], share: Share) -> Queue:
    return rows.get(share.queue, Queue(share.queue))


class RunningJob(NamedTuple):
    """The row of a job that runs, and its claim."""

    row: int
    claim: Claim


class PutJob(NamedTuple):
    """The row of a job, and its last claim."""

    row: int
    claim: Claim | None


class Engine:
    """Opens stores and ledgers on one fresh database, and has the usual steps of tests."""

    def __init__(
        self,
        stack: ExitStack,
        open_store: Callable[[], Store],
        open_ledger: Callable[[], Ledger],
        *,
        host_clock: bool,
    ) -> None:
        self.host_clock = host_clock  # whether the clock of this machine is that of the queue
        self._stack = stack
        self._open_store = open_store
        self._open_ledger = open_ledger
        self.store = self.another_store()
        self.ledger = self.another_ledger()

    def another_store(self) -> Store:
        """Opens one more store, as a second queuectl does."""
        store = self._open_store()
        self._stack.callback(store.close)
        return store

    def another_ledger(self) -> Ledger:
        """Opens one more ledger, as a second service does."""
        ledger = self._open_ledger()
        self._stack.callback(ledger.close)
        return ledger

    def add(self, command: str = "true", *, now_ms: int = NOW, **fields: Any) -> int:
        """Enqueues a job; returns its row."""
        new = [NewJob(command, **fields)]
        return self.store.find(self.store.enqueue(new, max_retries=3, now_ms=now_ms)[0])

    def claim(self, *, now_ms: int = NOW, worker: int = 1, token: int = 77) -> Claim | None:
        """Claims the first ready job for instance `i`; None if there is none."""
        with self.ledger.transaction():
            shares = plain_shares(self.ledger)
            claims = self.ledger.claim("i", [worker], token, now_ms=now_ms, shares=shares)
        return claims[0] if claims else None

    def must_claim(self, *, now_ms: int = NOW, worker: int = 1, token: int = 77) -> Claim:
        """Claims the first ready job, which must exist."""
        claim = self.claim(now_ms=now_ms, worker=worker, token=token)
        assert claim is not None
        return claim

    def end(self, claim: Claim, ending: Ending = OK, *, now_ms: int = NOW) -> State | None:
        """Settles a claim as the dispatcher does."""
        return self.settle(
            claim, judge(claim, ending, BACKOFF, now_ms=now_ms), ending, now_ms=now_ms
        )

    def settle(
        self, claim: Claim, verdict: Verdict, ending: Ending = OK, *, now_ms: int = NOW
    ) -> State | None:
        """Settles a claim with a given verdict."""
        with self.ledger.transaction():
            return self.ledger.settle([Settlement(claim, ending, verdict)], now_ms=now_ms)[0]

    def promote(self, *, now_ms: int, limit: int = 1000) -> int | None:
        """Promotes due jobs; returns when the next is due."""
        with self.ledger.transaction():
            return self.ledger.promote(now_ms=now_ms, limit=limit)

    def register(self, name: str = "i", pid: int = 10) -> Instance:
        """Registers an instance."""
        instance = Instance(name, "host", pid, "0.1.0", NOW, None)
        with self.ledger.transaction():
            self.ledger.register(instance, now_ms=NOW)
        return instance

    def running(self) -> RunningJob:
        """Enqueues a job and claims it."""
        row, claim = self.add(), self.must_claim()
        assert claim.key.job == row
        return RunningJob(row, claim)

    def put(self, state: State, **fields: Any) -> PutJob:
        """Enqueues a job and brings it to `state`."""
        job = self.add(**fields)
        if state is State.PENDING:
            return PutJob(job, None)
        if state is State.CANCELLED:
            assert self.store.cancel(job, now_ms=NOW) is State.CANCELLED
            return PutJob(job, None)
        claim = self.must_claim()
        assert claim.key.job == job
        if state is State.COMPLETED:
            self.end(claim)
        if state is State.DEAD:
            self.settle(claim, Verdict(State.DEAD, 1, NOW, "exit 1"), FAILED)
        assert self.store.show(job).state is state
        return PutJob(job, claim)

    def jobs(
        self, label: Label | None = None, *, reverse: bool = False, **wanted: Any
    ) -> list[Job]:
        """Returns all jobs that a filter finds."""
        labels = () if label is None else (label,)
        return list(self.store.list(JobFilter(labels, **wanted), reverse=reverse))

    def check_counters(self, *, now_ms: int = NOW) -> None:
        """Checks the counters against a count of the jobs."""
        counted = Counter(job.label for job in self.jobs())
        overdue = sum(
            job.label is Label.SCHEDULED and job.next_run_at_ms <= now_ms for job in self.jobs()
        )
        assert {label: n for label, n in self.ledger.counts().items() if n} == counted
        expected = {label: counted[label] for label in Label}
        expected[Label.PENDING] += sum(counted[part] for part in PARTS_OF_PENDING)
        expected[Label.SCHEDULED] -= overdue
        assert self.store.status(now_ms=now_ms).counts == expected


def purge(store: Store, *labels: Label, **wanted: Any) -> list[int]:
    """Removes what a filter finds; returns how many each transaction removed."""
    found = JobFilter(labels or ENDED, **wanted)
    jobs, removed, complete = store.select(found), list[int](), False
    while not complete:
        count, complete = store.purge(jobs, found)
        removed.append(count)
    return removed


def retry_all(store: Store, *labels: Label, **wanted: Any) -> list[str]:
    """Retries what a filter finds, by default the dead jobs; returns the ids."""
    found = JobFilter(labels or (Label.DEAD,), **wanted)
    return list(store.retry_all(store.select(found), found, now_ms=NOW))
