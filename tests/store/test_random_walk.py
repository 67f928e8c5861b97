"""Random steps in a random order: the database does what a queue in memory does.

Hypothesis chooses the steps, and shrinks those that make a difference to the fewest.
"""

import itertools
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from queued.core import labels
from queued.core.arrays import new_jobs
from queued.core.errors import ConflictError, UsageError
from queued.core.job_changes import JobChanges
from queued.core.model import CONDITIONS, Label, NewJob, Outcome, State
from queued.core.rates import Rate
from queued.core.records import JobFilter
from queued.core.runs import Claim, Ending
from queued.core.schedules import CatchUp, Overlap, new_schedule
from queued.ctl.move import changes_before
from tests.store.engine import FAILED, NOW, OK, Engine, plain_shares, purge
from tests.store.engines import ENGINES
from tests.store.reference_queue import EVERY, KEY_RATE_MS, RATE_MS, Queue, Task

ENDINGS = st.sampled_from(
    [OK, FAILED, Ending(Outcome.LOST), Ending(Outcome.INTERRUPTED), Ending(Outcome.CANCELLED)]
)
INSTANCES = st.sampled_from("ij")
QUEUES = st.sampled_from("ab")
REQUIRED = st.sampled_from(["", "", "gpu", "gpu,zone=a"])
LABELS = st.sampled_from(["", "gpu", "gpu,zone=a", "zone=a"])
FINAL = st.sampled_from([State.COMPLETED, State.DEAD, State.CANCELLED])
SCHEDULES = st.sampled_from("st")
UNIQUE = [
    {"unique_key": key, "unique_while": while_, "unique_for_ms": for_ms}
    for key, while_, for_ms in (
        *[("k", "active", None), ("k", "waiting", None), ("k", "any", None)],
        *[("k", "active", 1000), ("k", "any", 1000), ("l", "active", None)],
    )
]
MODEL_NAMES = {
    "delay_ms": "delay",
    "expires_in_ms": "expires_in",
    "unique_key": "unique",
    "unique_for_ms": "unique_for",
    "key_rate": "rate",
}
YEAR_MS = 31_536_000_000
STEPS_MS = st.sampled_from([0, 1, 700, 2000, 3000, 10_000, 3_600_000])


class Walk(RuleBasedStateMachine):
    """Steps of users, dispatchers, crashes and the clock."""

    open_engine: Callable[[Path, ExitStack], Engine]

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        directory = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._engine = self.open_engine(Path(directory), self._stack)
        self._model = Queue(host_clock=self._engine.host_clock)
        # The clock of a server goes on: no start leaves its window while the walk lasts.
        self._window_ms = KEY_RATE_MS if self._engine.host_clock else 86_400_000
        self._tokens = itertools.count(1)
        self._now_ms, self._offset_ms, self._known_ms = NOW, 0, 0
        self._claims: list[Claim] = []  # all that ever were

    def teardown(self) -> None:
        self._stack.close()

    @initialize(starts=st.none() | st.integers(1, 2))
    def start(self, starts: int | None) -> None:
        self._set_clock()
        self.set_rate("b", starts)

    def _set_clock(self) -> int:
        with self._engine.ledger.transaction():
            return self._engine.ledger.shift_clock(
                boot_id="b", offset_ms=self._offset_ms, tolerance_ms=1000
            )

    # Users

    @rule(
        queue=QUEUES,
        priority=st.integers(-1, 1),
        delay_ms=st.sampled_from([0, 0, 500, 5000]),
        max_retries=st.integers(0, 3),
        requires=REQUIRED,
        hold=st.sampled_from([False, False, False, True]),
        slots=st.sampled_from([1, 1, 1, 3]),
        expires_in_ms=st.sampled_from([None, None, 1, 3000]),
        unique=st.sampled_from([{}, {}, *UNIQUE]),
        how=st.sampled_from(["keep", "replace"]),
        key=st.sampled_from([None, None, "k", "k", "K"]),
        key_limit=st.sampled_from([1, 1, 2]),
        starts=st.sampled_from([0, 0, 1, 2]),
        data=st.data(),
    )
    def enqueue(
        self, *, unique: dict[str, Any], how: Any, starts: int, data: st.DataObject, **fields: Any
    ) -> None:
        if fields["key"] and starts:
            fields["key_rate"] = Rate(starts, self._window_ms)
        after = data.draw(self._some_conditions())
        names = {job: self._engine.store.show(job).id for _, job in after}
        given = fields | unique
        for condition in CONDITIONS:
            given[condition] = tuple(names[job] for one, job in after if one == condition)
        new = NewJob("true", **given)
        made = self._engine.store.enqueue(
            [new], max_retries=3, now_ms=self._now_ms, on_taken_key=how
        )
        row = self._engine.store.find(made[0])
        known = {MODEL_NAMES.get(name, name): value for name, value in (fields | unique).items()}
        replace = how == "replace"
        stored = self._model.enqueue(row, now=self._now_ms, replace=replace, after=after, **known)
        assert stored == row

    @rule(
        queue=QUEUES,
        priority=st.integers(-1, 1),
        indexes=st.sampled_from(["1-2", "1-3%1", "1-3%2", "2-8:3%1"]),
    )
    def enqueue_array(self, indexes: str, **fields: Any) -> None:
        payload = {"command": "true", "max_retries": 3, "array": indexes, **fields}
        jobs = new_jobs(payload)
        made = self._engine.store.enqueue(jobs, max_retries=3, now_ms=self._now_ms)
        for job, row in zip(jobs, map(self._engine.store.find, made), strict=True):
            key: dict[str, Any] = {"key": job.key, "key_limit": job.key_limit}
            self._model.enqueue(row, now=self._now_ms, array=job.array_id, **key, **fields)

    @precondition(lambda self: self._model.arrays)
    @rule(data=st.data())
    def cancel_array(self, data: st.DataObject) -> None:
        array = data.draw(st.sampled_from(self._model.arrays))
        wanted = JobFilter((Label.PENDING, Label.PROCESSING), array_id=array)
        live = [
            task.seq for task in self._model.tasks.values() if task.array == array and task.live
        ]
        rows = self._engine.store.select(wanted)
        assert [*rows] == live
        self._engine.store.cancel_all(rows, wanted, now_ms=self._now_ms)
        for job in live:
            self._model.cancel(job, self._now_ms)

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

    def _some_conditions(self) -> st.SearchStrategy[list[tuple[str, int]]]:
        if not self._model.tasks:
            return st.just([])
        jobs = st.sampled_from(sorted(self._model.tasks))
        return st.lists(st.tuples(st.sampled_from(CONDITIONS), jobs), max_size=2, unique=True)

    @precondition(lambda self: self._model.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self._model.tasks)))
        found = self._engine.store.cancel(job, now_ms=self._now_ms)
        assert found is self._model.cancel(job, self._now_ms)

    @precondition(lambda self: self._model.tasks)
    @rule(data=st.data(), move=st.sampled_from(["hold", "release", "run_now"]))
    def hold_or_release(self, data: st.DataObject, move: str) -> None:
        held = [task.seq for task in self._model.tasks.values() if task.held]
        known = held if move == "release" and held else sorted(self._model.tasks)
        job = data.draw(st.sampled_from(known))
        done = getattr(self._engine.store.edits, move)([job], now_ms=self._now_ms)
        assert bool(done) is getattr(self._model, move)(job, self._now_ms)

    @precondition(lambda self: self._model.tasks)
    @rule(
        data=st.data(),
        queue=st.none() | QUEUES,
        priority=st.none() | st.integers(-1, 1),
        delay_ms=st.sampled_from([None, None, 0, 2000]),
        max_retries=st.sampled_from([None, None, 1, 3]),
    )
    def edit(self, data: st.DataObject, delay_ms: int | None, **changes: Any) -> None:
        job = data.draw(st.sampled_from(sorted(self._model.tasks)))
        new = JobChanges(**changes, delay_ms=delay_ms)
        if self._model.would_expire(job, self._now_ms, delay_ms):
            with pytest.raises(UsageError):
                self._engine.store.edits.edit([job], new, now_ms=self._now_ms)
            return
        done = self._engine.store.edits.edit([job], new, now_ms=self._now_ms)
        assert bool(done) is self._model.edit(job, self._now_ms, delay=delay_ms, **changes)

    @precondition(lambda self: self._model.tasks)
    @rule(data=st.data(), first=st.booleans())
    def move(self, data: st.DataObject, *, first: bool) -> None:
        store, tasks = self._engine.store, self._model.tasks
        job = data.draw(st.sampled_from(sorted(tasks)))
        other = store.edits.first(tasks[job].queue, None)
        assert other == self._model.first_ready(tasks[job].queue)
        if not first:
            other = data.draw(st.sampled_from(sorted(tasks)))
        if other in {None, job} or tasks[other].queue != tasks[job].queue:
            return
        changes = changes_before(store.show(other), store.show(job))
        delay_ms = (changes.run_at_ms or 0) - self._now_ms
        if self._model.would_expire(job, self._now_ms, delay_ms):
            with pytest.raises(UsageError):
                store.edits.edit([job], changes, now_ms=self._now_ms)
            return
        done = store.edits.edit([job], changes, now_ms=self._now_ms)
        priority = changes.priority
        assert bool(done) is self._model.edit(job, self._now_ms, delay=delay_ms, priority=priority)
        assert not done or tasks[job].order < tasks[other].order

    @precondition(lambda self: self._model.tasks)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self._model.tasks)))
        try:
            done = bool(self._engine.store.retry([job], now_ms=self._now_ms))
        except ConflictError:
            done = False
        assert done is self._model.retry(job, self._now_ms)

    @rule()
    def retry_all(self) -> None:
        dead = [task.seq for task in self._model.tasks.values() if task.state is State.DEAD]
        found = JobFilter((Label.DEAD,))
        rows = self._engine.store.select(found)
        assert [*rows] == dead
        retried = self._engine.store.retry_all(rows, found, now_ms=self._now_ms)
        assert len(retried) == sum(self._model.retry(job, self._now_ms) for job in dead)

    @rule(state=FINAL, queue=st.none() | QUEUES, age_ms=STEPS_MS)
    def purge(self, state: State, queue: str | None, age_ms: int) -> None:
        before_ms = self._now_ms - age_ms
        store = self._engine.store
        removed = sum(purge(store, Label(state), queue=queue, before_ms=before_ms))
        assert removed == self._model.remove(state, before_ms, queue)

    @rule(queue=QUEUES, limit=st.none() | st.integers(0, 4))
    def set_limit(self, queue: str, limit: int | None) -> None:
        self._engine.store.queues.change(queue, concurrency=limit)
        self._model.limits[queue] = limit

    @rule(queue=QUEUES, starts=st.none() | st.integers(1, 3))
    def set_rate(self, queue: str, starts: int | None) -> None:
        rate_ms = None if starts is None else RATE_MS
        self._engine.store.queues.change(queue, rate_starts=starts, rate_ms=rate_ms)
        self._model.rates[queue] = starts

    @rule(queue=QUEUES, suspends=st.booleans())
    def pause_or_resume(self, queue: str, *, suspends: bool) -> None:
        """Runs that were suspended can be settled and given back like others."""
        paused_ms = None if queue in self._model.paused else self._now_ms
        suspended_ms = paused_ms if suspends else None
        self._engine.store.queues.change(queue, paused_ms=paused_ms, suspended_ms=suspended_ms)
        self._model.paused ^= {queue}

    # Schedules

    @rule(name=SCHEDULES, catch_up=st.sampled_from(CatchUp), overlap=st.sampled_from(Overlap))
    def add_or_remove_schedule(self, name: str, catch_up: str, overlap: str) -> None:
        if name in self._model.timers:
            del self._model.timers[name]
            self._engine.store.schedules.remove(name)
            return
        policies = {"catch_up": catch_up, "overlap": overlap}
        payload = {"command": "true", "queue": "a", "max_retries": 3}
        schedule = new_schedule(name, "*/30 * * * *", "UTC", payload, **policies)
        self._engine.store.schedules.add(schedule, now_ms=self._now_ms)
        self._model.add_schedule(name, catch_up, overlap, self._now_ms)

    @precondition(lambda self: self._model.timers)
    @rule(data=st.data())
    def pause_or_resume_schedule(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self._model.timers)))
        if self._model.timers[name].paused:
            self._model.resume_schedule(name, self._now_ms)
            assert self._engine.store.schedules.resume(name, now_ms=self._now_ms)
        else:
            self._model.timers[name].paused = True
            assert self._engine.store.schedules.pause(name, now_ms=self._now_ms)

    @precondition(lambda self: self._model.timers)
    @rule(data=st.data())
    def run_schedule(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self._model.timers)))
        job = self._engine.store.schedules.run(name, max_retries=3, now_ms=self._now_ms)
        row = self._engine.store.find(job)
        assert row == self._model.enqueue(row, queue="a", now=self._now_ms, schedule=name)

    @precondition(lambda self: self._model.timers)
    @rule(by_ms=st.sampled_from([0, 1000, EVERY, 3 * EVERY]))
    def fire(self, by_ms: int) -> None:
        self._now_ms += by_ms
        ledger = self._engine.ledger
        with ledger.transaction():
            ledger.schedules.clock_was_set(now_ms=self._now_ms)
            fired = ledger.schedules.fire(max_retries=5, now_ms=self._now_ms)
        jobs = {(one.schedule, at_ms): job for one in fired for at_ms, job in one.jobs.items()}
        rows = {key: self._engine.store.find(job) for key, job in jobs.items()}
        self._model.fire(rows, self._now_ms)
        assert not rows

    # Dispatchers

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
                *(instance, [1] * count, tokens[0]),
                now_ms=self._now_ms,
                shares=[shares[queue] for queue in queues if queue in shares],
            )
        now_ms = self._now_ms
        tasks = [self._model.claim(instance, {*has}, token, now_ms, queues) for token in tokens]
        assert len(claims) == len([task for task in tasks if task is not None])
        for token, claim, task in zip(tokens, claims, filter(None, tasks), strict=False):
            assert claim.key == (task.seq, task.runs, token)
            assert (claim.attempts, claim.due_ms) == (task.attempts, task.run_at)
            self._claims.append(claim)

    @rule(instance=INSTANCES, queues=st.permutations(["a", "b"]), count=st.integers(2, 5))
    def enqueue_and_claim(self, instance: str, queues: list[str], count: int) -> None:
        """Adds jobs that are ready, of which other steps seldom leave several, and claims them."""
        new = [NewJob("true", queue=queues[0])] * count
        for name in self._engine.store.enqueue(new, max_retries=3, now_ms=self._now_ms):
            self._model.enqueue(self._engine.store.find(name), queue=queues[0], now=self._now_ms)
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

    # Time

    @rule(by_ms=STEPS_MS)
    def wait(self, by_ms: int) -> None:
        self._now_ms += by_ms

    @rule(by_ms=st.sampled_from([-3_600_000, -2000, 500, 2000, 3_600_000]))
    def set_the_clock(self, by_ms: int) -> None:
        """Small steps add up until they exceed the tolerance, unless starts would become older."""
        if self._model.key_starts and self._offset_ms + by_ms - self._known_ms != by_ms:
            return
        if self._model.key_starts and abs(by_ms) <= 1000:
            return
        self._now_ms += by_ms
        self._offset_ms += by_ms
        expected = self._offset_ms - self._known_ms
        if not self._engine.host_clock or abs(expected) <= 1000:
            expected = 0
        assert self._set_clock() == expected
        self._known_ms += expected
        self._model.shift(expected)

    # What always holds

    @invariant()
    def the_same_jobs(self) -> None:
        found = {job.seq: job for job in self._engine.jobs()}
        assert found.keys() == self._model.tasks.keys()
        for seq, task in self._model.tasks.items():
            job = found[seq]
            assert (
                job.state,
                job.next_run_at_ms,
                job.attempts,
                job.runs,
                job.cancel_requested_ms,
            ) == (*(task.state, task.run_at, task.attempts, task.runs, task.cancel),)
            assert (job.label is Label.HELD) is (task.held and task.state is State.PENDING)
            assert (job.label is Label.BLOCKED) is (
                (task.blocked or task.in_line) and not task.held and task.state is State.PENDING
            )
            assert (job.queue, job.priority, job.requires, job.updated_ms) == (
                *(task.queue, task.priority, labels.split(task.requires), task.updated),
            )
            assert (job.unique_while, job.expires_ms) == (task.unique_while, task.expires)
            assert (job.schedule, job.scheduled_ms) == (task.schedule, task.scheduled)
            assert job.array_id == task.array
            self._the_same_history(task)
        for key in {"k", "K"} | {f"array:{array}" for array in self._model.arrays}:
            running = [t for t in self._model.of_key(key) if t.state is State.PROCESSING]
            assert len(running) <= max((task.key_limit for task in running), default=0)
            assert self._model.started_since(key, self._now_ms - self._model.key_window) <= 2
        self._the_same_schedules()
        self._engine.check_counters(now_ms=self._now_ms)

    def _the_same_schedules(self) -> None:
        found = {one.name: one for one in self._engine.store.schedules.list()}
        assert found.keys() == self._model.timers.keys()
        for name, timer in self._model.timers.items():
            one = found[name]
            times = (one.next_ms, one.last_ms, one.paused_ms is not None)
            assert times == (timer.next, timer.last, timer.paused)
            assert (one.fired, one.skipped) == (timer.fired, timer.skipped)

    def _the_same_history(self, task: Task) -> None:
        attempts = self._engine.store.attempts(task.seq)
        assert [run.number for run in attempts] == list(range(1, task.runs + 1))
        running = [run.number for run in attempts if run.ended_ms is None]
        assert running == ([task.runs] if task.state is State.PROCESSING else [])


class OnSqlite(Walk):
    open_engine = staticmethod(ENGINES["sqlite"])


class OnPostgres(Walk):
    open_engine = staticmethod(ENGINES["postgres"])


LONG = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestOnSqlite, TestOnPostgres = OnSqlite.TestCase, OnPostgres.TestCase
TestOnSqlite.settings = LONG
TestOnPostgres.settings = settings(LONG, max_examples=20)  # a step takes five times as long
