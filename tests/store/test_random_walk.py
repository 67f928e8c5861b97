"""Whatever is done in whatever order: the counters are right, and the promises hold."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from queued.core.errors import ConflictError
from queued.core.model import Claim, Ending, JobFilter, Outcome, State
from tests.store.engine import FAILED, NOW, OK, Engine

ENDINGS = [OK, FAILED, Ending(Outcome.LOST), Ending(Outcome.INTERRUPTED), Ending(Outcome.CANCELLED)]


class Walk:
    """Random steps of users and dispatchers on one database."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._dice = random.Random(seed)
        self.now_ms = NOW
        self.held: dict[int, Claim] = {}
        self.settled: list[Claim] = []
        self.runs: list[tuple[int, int]] = []

    def step(self) -> None:
        """One step of a random kind."""
        self.now_ms += self._dice.choice([0, 1, 700, 3000])
        steps: list[Callable[[], object]] = [
            *(self._enqueue, self._claim, self._claim, self._claim, self._settle, self._settle),
            *(self._settle_again, self._cancel, self._retry, self._promote),
        ]
        self._dice.choice(steps)()

    def _enqueue(self) -> None:
        fields: dict[str, Any] = {
            "queue": self._dice.choice("ab"),
            "priority": self._dice.randint(-1, 1),
            "delay_ms": self._dice.choice([0, 0, 500]),
            "max_retries": self._dice.randint(0, 3),
        }
        self._engine.add(now_ms=self.now_ms, **fields)

    def _claim(self) -> None:
        claim = self._engine.claim(now_ms=self.now_ms, token=self._dice.getrandbits(62))
        if claim is not None:
            assert claim.key.job not in self.held, "a job runs twice at once"
            assert claim.due_ms <= self.now_ms, "a job runs too early"
            self.held[claim.key.job] = claim
            self.runs.append(claim.key[:2])

    def _settle(self) -> None:
        if self.held:
            claim = self.held.pop(self._dice.choice(list(self.held)))
            assert self._engine.end(claim, self._dice.choice(ENDINGS), now_ms=self.now_ms)
            self.settled.append(claim)

    def _settle_again(self) -> None:
        if self.settled:
            late = self._dice.choice(self.settled)
            assert self._engine.end(late, self._dice.choice(ENDINGS), now_ms=self.now_ms) is None

    def _some_job(self) -> int | None:
        jobs = list(self._engine.store.list(JobFilter()))
        return self._dice.choice(jobs).seq if jobs else None

    def _cancel(self) -> None:
        if job := self._some_job():
            self._engine.store.cancel(job, now_ms=self.now_ms)

    def _retry(self) -> None:
        if job := self._some_job():
            try:
                self._engine.store.retry([job], now_ms=self.now_ms)
            except ConflictError:
                self._engine.store.retry_all(now_ms=self.now_ms)

    def _promote(self) -> None:
        self._engine.promote(now_ms=self.now_ms, limit=self._dice.randint(1, 5))


@pytest.mark.parametrize("seed", range(6))
def test_a_random_walk(engine: Engine, seed: int) -> None:
    walk = Walk(engine, seed)
    for _ in range(200):
        walk.step()
        engine.check_counters(now_ms=walk.now_ms)
    assert len(walk.runs) > 10, "the walk went nowhere"
    assert len(set(walk.runs)) == len(walk.runs), "no run has the number of another"
    with engine.ledger.transaction():
        assert {claim.key.job for claim in engine.ledger.running_claims("i")} == set(walk.held)
    for job in engine.jobs():
        attempts = engine.store.attempts(job.seq)
        assert [run.number for run in attempts] == list(range(1, job.runs + 1))
        assert [run.ended_ms is None for run in attempts].count(True) == (
            1 if job.state is State.PROCESSING else 0
        )
