"""A user and a dispatcher in this process, step by step.

The turns are those of the service; workers are replaced by dice that choose how a run ends.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import apsw

from queued.core.fair_share import Policy
from queued.core.model import Instance, Label, NewJob, Outcome, State
from queued.core.records import Attempt, Job, JobFilter
from queued.core.runs import Chunk, Ending
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.queue_claims import OpenQueues
from queued.service.dispatcher.turn import TurnRunner
from queued.service.dispatcher.turn_results import Turn
from queued.service.ipc.messages import Message, Output, Piece, Result, Returned
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.default_settings import DEFAULTS

NOW = 1_700_000_000_000
_WORKERS = (1, 2, 3)
_HOOKS = '{"on_completed": "hook", "on_dead": "hook"}'
_ENDINGS = (
    Ending(Outcome.EXIT, exit_code=0, ran_ms=1),  # so short that the worker gets a second claim
    Ending(Outcome.EXIT, exit_code=0),
    Ending(Outcome.EXIT, exit_code=1, tail=b"no luck"),
    Ending(Outcome.SIGNAL, signal="SIGKILL"),
    Ending(Outcome.INTERRUPTED),
)
ONE_QUEUE = OpenQueues({"default": (0,)}, {"default": Policy()}, {})


class _WorkerPool:
    """The part of a worker pool that a turn uses."""

    def __init__(self) -> None:
        self.claims = ClaimTable()
        self.inbox: list[tuple[int, Message]] = []

    def present(self) -> list[int]:
        return list(_WORKERS)


class InProcessDispatcher:
    """Calls `committed` after each transaction, with whether it must survive a power cut."""

    def __init__(
        self, path: str, seed: int, committed: Callable[[bool], None] = lambda _durable: None
    ) -> None:
        self.path = path
        self.acknowledged: set[str] = set()
        self.recorded: list[
            tuple[int, int, Ending]
        ] = []  # row of the job, number of the run, ending
        self.now_ms = NOW
        self._tell = committed
        self._commits = 0
        self._dice = random.Random(seed)
        self._pool: Any = _WorkerPool()
        self._reported: set[tuple[int, int]] = set()
        self.open()

    def open(self) -> None:
        """Connects, as a new dispatcher does, and reads the claims of the one before."""
        self.store = SqliteStore(self.path, BusyHandler(5))
        try:
            self.ledger = SqliteLedger(self.path, BusyHandler(5))
            for opened in (self.store, self.ledger):
                # SQLite ignores whether a checkpoint after a commit fails; apsw would raise it.
                opened._database._connection.wal_autocheckpoint(0)
            self._runner = TurnRunner(self.ledger, "i")
            with self.ledger.transaction():
                instance = Instance("i", "host", 1, "0", NOW, None)
                self.ledger.register(instance, now_ms=self.now_ms)
                claims = self.ledger.running_claims("i")
            self._pool.claims = ClaimTable(claims)
        except BaseException:
            with suppress(apsw.Error):
                self.store.close()
            raise
        self._committed(True)  # noqa: FBT003

    def _committed(self, durable: bool) -> None:  # noqa: FBT001
        """Calls `committed`, and checkpoints after every few commits, as SQLite does."""
        self._tell(durable)
        self._commits += 1
        if self._commits % 4 == 0:
            with suppress(apsw.Error):
                self.ledger._database._connection.wal_checkpoint()

    def close(self) -> None:
        """Disconnects; errors of the last checkpoint are ignored, as SQLite does."""
        for opened in (self.store, self.ledger):
            with suppress(apsw.Error):
                opened.close()

    def step(self) -> None:
        """Does one random thing that a user or the service does."""
        self.now_ms += self._dice.choice([0, 1, 400, 3000])
        step = self._dice.choice([self.enqueue, self.work, self.work, self.work, self.move])
        step()

    def enqueue(self) -> None:
        """A user enqueues a few jobs."""
        jobs = [
            NewJob(
                "x" * self._dice.choice([4, 300]),
                priority=self._dice.randint(-1, 1),
                delay_ms=self._dice.choice([0, 0, 500]),
                max_retries=self._dice.randint(1, 3),
                options=self._dice.choice(["{}", _HOOKS]),
            )
            for _ in range(self._dice.randint(1, 3))
        ]
        names = self.store.enqueue(jobs, max_retries=3, now_ms=self.now_ms)
        self.acknowledged |= set(names)
        self._committed(True)  # noqa: FBT003

    def move(self) -> None:
        """A user cancels a job, or retries one that is dead or cancelled."""
        jobs = self.jobs()
        if not jobs:
            return
        job = self._dice.choice(jobs)
        if job.state in (State.DEAD, State.CANCELLED):
            self.store.retry([job.seq], now_ms=self.now_ms)
        elif self._dice.random() < 0.3:
            self.store.cancel(job.seq, now_ms=self.now_ms)
        self._committed(True)  # noqa: FBT003

    def work(self) -> None:
        """Workers report; then the dispatcher makes a turn."""
        self.report()
        self.turn()

    def report(self) -> None:
        """Some workers send output, results, or claims that they give back."""
        for worker in _WORKERS:
            for waiting in self._pool.claims.of(worker)[1:]:
                if self._dice.random() < 0.2:
                    self._pool.inbox.append((worker, Returned(key=waiting.key)))
        for claim in self._pool.claims.running():
            worker = claim.worker
            if (claim.key.job, claim.key.attempt) in self._reported or self._dice.random() < 0.5:
                continue
            printed = bytes([self._dice.randrange(256)]) * self._dice.choice([0, 10, 5000])
            piece = Piece(Chunk(1, 0, printed), 0, 0)
            if self._dice.random() < 0.3:
                self._pool.inbox.append((worker, Output(key=claim.key, piece=piece)))
                continue
            ending = self._dice.choice(_ENDINGS)
            pieces = [piece] if printed else []
            result = Result(key=claim.key, id=claim.id, ending=ending, pieces=pieces)
            self._pool.inbox.append((worker, result))
            self._reported.add((claim.key.job, claim.key.attempt))

    def turn(self) -> Turn:
        """Makes a turn, as the loop of the dispatcher does; if it fails, its input is kept."""
        durable = bool(self._pool.inbox)
        with self.ledger.transaction(durable=durable):
            turn = self._runner.turn(
                self._pool, DEFAULTS, queues=ONE_QUEUE, restoring=False, now_ms=self.now_ms
            )
        self._pool.inbox.clear()
        self._pool.claims = turn.claims
        for finished in turn.finished:
            key = finished.claim.key
            self.recorded.append((key.job, key.attempt, finished.ending))
        self._committed(durable)
        return turn

    def jobs(self) -> list[Job]:
        """Returns all jobs."""
        return list(self.store.list(JobFilter()))

    def attempts(self, job: int) -> list[Attempt]:
        """Returns all runs of a job."""
        return list(self.store.attempts(job))

    def finish(self) -> None:
        """Works until all jobs have ended."""
        for _ in range(500):
            self.now_ms += 10_000
            self.work()
            counts = self.store.status(now_ms=self.now_ms).counts
            if counts[Label.PENDING] == counts[Label.PROCESSING] == 0:
                return
        msg = "the jobs do not end"
        raise AssertionError(msg)
