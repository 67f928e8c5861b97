"""Random steps of dispatchers, and their crashes."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from queued.core import labels
from queued.core.model import NewJob, Outcome, State
from queued.core.rates import Rate
from queued.core.runs import Claim, Ending
from queued.service.dispatcher.queue_claims import QueueClaims
from tests.store.engine import FAILED, NOW, OK, open_queues, plain_shares
from tests.store.walk_state import QUEUES, STEPS_MS, WalkState

ENDINGS = st.sampled_from(
    [OK, FAILED, Ending(Outcome.LOST), Ending(Outcome.INTERRUPTED), Ending(Outcome.CANCELLED)]
)
INSTANCES = st.sampled_from("ij")
LABELS = st.sampled_from(["", "gpu", "gpu,zone=a", "zone=a"])
FINAL = st.sampled_from([State.COMPLETED, State.DEAD, State.CANCELLED])
WORKERS = [1, 2] * 5
YEAR_MS = 31_536_000_000


class DispatcherSteps(WalkState):
    """Steps of dispatchers, and crashes."""

    @rule(limit=st.integers(1, 5))
    def promote(self, limit: int) -> None:
        due_ms = self._engine.promote(now_ms=self._now_ms, limit=limit)
        if not self._engine.host_clock and due_ms is not None and due_ms > NOW + YEAR_MS:
            due_ms = None  # of a rate, by the clock of the server
        assert due_ms == self._model.promote(self._now_ms, limit)

    @rule(
        instance=INSTANCES, own=LABELS, count=st.integers(1, 9), queues=st.permutations(["a", "b"])
    )
    def claim(self, instance: str, own: str, count: int, queues: list[str]) -> None:
        self._expire(instance)
        tokens, has = [next(self._tokens) for _ in range(count)], labels.split(own)
        with self._engine.ledger.transaction():
            shares = {share.queue: share for share in plain_shares(self._engine.ledger, has)}
            claims = self._engine.ledger.claim(
                *(instance, WORKERS[:count], tokens[0]),
                now_ms=self._now_ms,
                shares=[shares[queue] for queue in queues if queue in shares],
            )
        now_ms = self._now_ms
        tasks = [self._model.claim(instance, {*has}, token, now_ms, queues) for token in tokens]
        assert len(claims) == len([task for task in tasks if task is not None])
        for token, claim, task in zip(tokens, claims, filter(None, tasks), strict=False):
            assert claim.key == (task.seq, task.runs, token)
            assert (claim.attempts, claim.due_ms) == (task.attempts, task.run_at)
            task.worker = claim.worker
            self._claims.append(claim)

    @rule(
        instance=INSTANCES,
        own=LABELS,
        count=st.integers(1, 9),
        added=st.integers(0, 4),
        opens=st.booleans(),
    )
    def claim_by_weights(
        self, instance: str, own: str, count: int, added: int, *, opens: bool
    ) -> None:
        """As a service that has just started does; of both queues some jobs are added first."""
        for queue in "ab":
            self._add_ready(queue, added)
            if opens:
                self._open(queue)
        self._expire(instance)
        has, ledger = labels.split(own), self._engine.ledger
        tokens = [next(self._tokens) for _ in range(count)]
        with ledger.transaction():
            opened = open_queues(ledger, has)
            claims = QueueClaims(ledger, instance).claim(
                opened, WORKERS[:count], count, tokens[0], now_ms=self._now_ms
            )
        tasks = self._model.claim_by_weights(instance, {*has}, count, self._now_ms, opened.lanes)
        assert sorted(claim.key.job for claim in claims) == sorted(task.seq for task in tasks)
        for claim in claims:
            task = self._model.tasks[claim.key.job]
            assert claim.key.attempt == task.runs
            task.worker, task.token = claim.worker, claim.key.token
            self._claims.append(claim)

    def _open(self, queue: str) -> None:
        """Lets all jobs of a queue start that are ready."""
        fields = ("concurrency", "rate_starts", "rate_ms", "paused_ms", "suspended_ms")
        self._engine.store.queues.change(queue, **dict.fromkeys(fields))
        self._model.limits[queue] = self._model.rates[queue] = None
        self._model.paused.discard(queue)

    def _add_ready(self, queue: str, count: int) -> None:
        """Adds jobs that are ready, of which other steps seldom leave several."""
        new = [NewJob("true", queue=queue)] * count
        for name in self._engine.store.enqueue(new, max_retries=3, now_ms=self._now_ms):
            self._model.enqueue(self._engine.store.find(name), queue=queue, now=self._now_ms)

    @precondition(lambda self: self._model.tasks)
    @rule(
        data=st.data(),
        name=st.sampled_from(["USR1", "HUP"]),
        instance=INSTANCES,
        workers=st.lists(st.sampled_from([1, 2]), max_size=2),
    )
    def signal(self, data: st.DataObject, name: str, instance: str, workers: list[int]) -> None:
        """A user signals a job, one that runs if there is one; some workers get what is theirs."""
        running = [task.seq for task in self._model.tasks.values() if task.owner is not None]
        job = data.draw(st.sampled_from(running or sorted(self._model.tasks)))
        assert bool(self._engine.store.edits.signal([job], name)) is self._model.signal(job, name)
        instance = self._model.tasks[job].owner or instance
        for worker in workers:
            with self._engine.ledger.transaction():
                taken = self._engine.ledger.take_signals(instance, [worker])
            found = [(*request.key, request.name) for request in taken]
            assert found == self._model.take_signals(instance, worker)

    @rule(instance=INSTANCES, queues=st.permutations(["a", "b"]), count=st.integers(2, 5))
    def enqueue_and_claim(self, instance: str, queues: list[str], count: int) -> None:
        self._add_ready(queues[0], count)
        self.claim(instance, "", count, queues)

    def _expire(self, instance: str) -> None:
        """Each turn does this before it claims."""
        with self._engine.ledger.transaction():
            late = self._engine.ledger.expire(
                instance, next(self._tokens), now_ms=self._now_ms, limit=1000
            )
        for claim in late:
            self._engine.end(claim, Ending(Outcome.EXPIRED), now_ms=self._now_ms)
        assert {claim.key.job for claim in late} == self._model.expire(self._now_ms)

    @rule(
        queue=QUEUES,
        starts=st.sampled_from([1, 2]),
        count=st.integers(2, 4),
        urgent=st.integers(0, 2),
        waits=STEPS_MS,
    )
    def start_by_a_rate(self, queue: str, starts: int, count: int, urgent: int, waits: int) -> None:
        """Some jobs of one key, and two turns; urgent ones without a rate come between."""
        fields: dict[str, Any] = {"queue": queue, "key": "k", "key_limit": 9}
        rate = Rate(starts, self._window_ms)
        for most, one, priority in ((count, rate, 0), (urgent, None, 9)):
            fields |= {"priority": priority}
            jobs = [NewJob("true", key_rate=one, **fields)] * most
            for name in self._engine.store.enqueue(jobs, max_retries=3, now_ms=self._now_ms):
                row = self._engine.store.find(name)
                self._model.enqueue(row, now=self._now_ms, rate=one, **fields)
            self.promote(5)
            self.claim("i", "", 5, [queue])
            self.the_same_jobs()
            self._now_ms += waits

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), ending=ENDINGS)
    def settle(self, data: st.DataObject, ending: Ending) -> None:
        """A claim in force, or an old one that comes late or twice."""
        self._settle(data.draw(st.sampled_from(self._in_force() or self._claims)), ending)

    @precondition(lambda self: self._in_force())
    @rule(data=st.data(), ending=ENDINGS)
    def settle_what_is_to_be_cancelled(self, data: st.DataObject, ending: Ending) -> None:
        claim = data.draw(st.sampled_from(self._in_force()))
        assert self._engine.store.cancel(claim.key.job, now_ms=self._now_ms) is State.PROCESSING
        self._model.cancel(claim.key.job, self._now_ms)
        self.the_same_jobs()
        self._settle(claim, ending)

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), ending=ENDINGS)
    def settle_late(self, data: st.DataObject, ending: Ending) -> None:
        self._settle(data.draw(st.sampled_from(self._claims)), ending)

    def _in_force(self) -> list[Claim]:
        tokens = {task.token for task in self._model.tasks.values()}
        return [claim for claim in self._claims if claim.key.token in tokens]

    def _settle(self, claim: Claim, ending: Ending) -> None:
        found = self._engine.end(claim, ending, now_ms=self._now_ms)
        assert found is self._model.settle(*claim.key, ending, self._now_ms)

    @precondition(lambda self: self._claims)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self._in_force() or self._claims))
        with self._engine.ledger.transaction():
            released = self._engine.ledger.unclaim(claim.key, now_ms=self._now_ms)
        assert released is self._model.unclaim(*claim.key, self._now_ms)

    @rule(instance=INSTANCES)
    def crash(self, instance: str) -> None:
        """An instance dies whole; the next one finds its claims and settles them as lost."""
        with self._engine.another_ledger().transaction():
            claims = self._engine.ledger.running_claims(instance)
        running = {task.seq for task in self._model.running(instance)}
        assert {claim.key.job for claim in claims} == running
        for claim in claims:
            self._settle(claim, Ending(Outcome.LOST))

    @rule(state=FINAL, age_ms=STEPS_MS, limit=st.integers(1, 7))
    def prune(self, state: State, age_ms: int, limit: int) -> None:
        """A whole pass. It may end early where the clock was set back, and never removes more."""
        before_ms, after, removed, done = self._now_ms - age_ms, 0, 0, False
        while not done:
            with self._engine.ledger.transaction():
                step = self._engine.ledger.prune(
                    state, after=after, before_ms=before_ms, limit=limit
                )
            after, done, removed = step.after, step.done, removed + step.removed
        left = {job.seq for job in self._engine.jobs()}
        gone = [task for task in self._model.tasks.values() if task.seq not in left]
        assert len(gone) == removed
        assert all(task.state is state and task.updated < before_ms for task in gone)
        for task in gone:
            self._model.forget(task.seq)
