"""Random steps of users, and of schedules."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from queued.core.arrays import new_jobs
from queued.core.errors import ConflictError, TakenKeyError, UsageError
from queued.core.job_changes import JobChanges
from queued.core.job_spec import like
from queued.core.model import CONDITIONS, KeyUser, Label, NewJob, State
from queued.core.rates import Rate
from queued.core.records import JobFilter
from queued.core.schedules import CatchUp, Overlap, new_schedule
from queued.ctl.move import changes_before
from tests.store.engine import purge
from tests.store.reference_queue import RATE_MS
from tests.store.reference_schedules import EVERY
from tests.store.walk_state import QUEUES, STEPS_MS, WalkState

REQUIRED = st.sampled_from(["", "", "gpu", "gpu,zone=a"])
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


class UserSteps(WalkState):
    """Steps of users."""

    @initialize(starts=st.none() | st.integers(1, 2))
    def start(self, starts: int | None) -> None:
        self._set_clock()
        self.set_rate("b", starts)

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
        discards=st.booleans(),
        times=st.sampled_from([1, 1, 2, 3]),
        data=st.data(),
    )
    def enqueue(
        self,
        *,
        unique: dict[str, Any],
        how: Any,
        starts: int,
        discards: bool,
        times: int,
        data: st.DataObject,
        **fields: Any,
    ) -> None:
        """Adds a job some times, so that the later ones find the first one's keys taken."""
        if fields["key"] and starts:
            fields["key_rate"] = Rate(starts, self._window_ms)
        after = data.draw(self._some_conditions())
        names = {job: self._engine.store.show(job).id for _, job in after}
        given = fields | unique
        if discards and fields["key"]:
            given["on_conflict"] = "discard"
        for condition in CONDITIONS:
            given[condition] = tuple(names[job] for one, job in after if one == condition)
        for _ in range(times):
            self._enqueue(NewJob("true", **given), how, after, fields | unique)

    def _enqueue(self, new: NewJob, how: Any, after: Any, fields: dict[str, Any]) -> None:
        made = self._engine.store.enqueue(
            [new], max_retries=3, now_ms=self._now_ms, on_taken_key=how
        )
        row = self._engine.store.find(made[0])
        if new.on_conflict == "discard":
            users = self._model.key_users(str(new.key), self._now_ms)
            discarded = len(users) >= new.key_limit
            assert isinstance(made[0], KeyUser) is discarded
            if discarded:
                assert row in users
                return
        known = {MODEL_NAMES.get(name, name): value for name, value in fields.items()}
        replace = how == "replace"
        stored = self._model.enqueue(row, now=self._now_ms, replace=replace, after=after, **known)
        assert stored == row

    @rule(
        queue=QUEUES,
        key_limit=st.integers(1, 3),
        delays_ms=st.lists(st.sampled_from([0, 0, 0, 700]), min_size=1, max_size=4),
    )
    def enqueue_until_full(self, queue: str, key_limit: int, delays_ms: list[int]) -> None:
        """Adds jobs of a key, of which those are discarded that find its limit reached."""
        for delay_ms in delays_ms:
            fields: dict[str, Any] = {"queue": queue, "delay_ms": delay_ms}
            fields |= {"key": "full", "key_limit": key_limit}
            self._enqueue(NewJob("true", on_conflict="discard", **fields), "keep", [], fields)

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

    @precondition(lambda self: self._model.tasks)
    @rule(data=st.data())
    def rerun(self, data: st.DataObject) -> None:
        """A job that waits is cancelled first."""
        job = data.draw(st.sampled_from(sorted(self._model.tasks)))
        store, now_ms = self._engine.store, self._now_ms
        task = self._model.tasks[job]
        if task.state is State.PENDING:
            store.cancel(job, now_ms=now_ms)
            self._model.cancel(job, now_ms)
        if task.live:
            return
        new = [like(store.show(job), store.edits.input(job))]
        if self._model.free_key(task.unique, now_ms):
            with pytest.raises(TakenKeyError):
                store.enqueue(new, max_retries=1, now_ms=now_ms, on_taken_key="fail")
            return
        made = store.enqueue(new, max_retries=1, now_ms=now_ms, on_taken_key="fail")
        row = store.find(made[0])
        self._model.rerun(job, row, now_ms)
        assert store.show(row).options.rerun_of == store.show(job).id

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

    @rule(queue=QUEUES, weight=st.sampled_from([1, 2, 4]))
    def set_weight(self, queue: str, weight: int) -> None:
        self._engine.store.queues.change(queue, weight=weight)
        self._model.weights[queue] = weight

    @rule(queue=QUEUES, suspends=st.booleans())
    def pause_or_resume(self, queue: str, *, suspends: bool) -> None:
        """Runs that were suspended can be settled and given back like others."""
        paused_ms = None if queue in self._model.paused else self._now_ms
        suspended_ms = paused_ms if suspends else None
        self._engine.store.queues.change(queue, paused_ms=paused_ms, suspended_ms=suspended_ms)
        self._model.paused ^= {queue}


class ScheduleSteps(WalkState):
    """Schedules, and their firings by dispatchers."""

    @rule(name=SCHEDULES, catch_up=st.sampled_from(CatchUp), overlap=st.sampled_from(Overlap))
    def add_or_remove_schedule(self, name: str, catch_up: str, overlap: str) -> None:
        if name in self._model.schedules.timers:
            del self._model.schedules.timers[name]
            self._engine.store.schedules.remove(name)
            return
        policies = {"catch_up": catch_up, "overlap": overlap}
        payload = {"command": "true", "queue": "a", "max_retries": 3}
        schedule = new_schedule(name, "*/30 * * * *", "UTC", payload, **policies)
        self._engine.store.schedules.add(schedule, now_ms=self._now_ms)
        self._model.schedules.add(name, catch_up, overlap, self._now_ms)

    @precondition(lambda self: self._model.schedules.timers)
    @rule(data=st.data())
    def pause_or_resume_schedule(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self._model.schedules.timers)))
        if self._model.schedules.timers[name].paused:
            self._model.schedules.resume(name, self._now_ms)
            assert self._engine.store.schedules.resume(name, now_ms=self._now_ms)
        else:
            self._model.schedules.timers[name].paused = True
            assert self._engine.store.schedules.pause(name, now_ms=self._now_ms)

    @precondition(lambda self: self._model.schedules.timers)
    @rule(data=st.data())
    def run_schedule(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self._model.schedules.timers)))
        job = self._engine.store.schedules.run(name, max_retries=3, now_ms=self._now_ms)
        row = self._engine.store.find(job)
        assert row == self._model.enqueue(row, queue="a", now=self._now_ms, schedule=name)

    @precondition(lambda self: self._model.schedules.timers)
    @rule(by_ms=st.sampled_from([0, 1000, EVERY, 3 * EVERY]))
    def fire(self, by_ms: int) -> None:
        self._now_ms += by_ms
        ledger = self._engine.ledger
        with ledger.transaction():
            ledger.schedules.clock_was_set(now_ms=self._now_ms)
            fired = ledger.schedules.fire(max_retries=5, now_ms=self._now_ms)
        jobs = {(one.schedule, at_ms): job for one in fired for at_ms, job in one.jobs.items()}
        rows = {key: self._engine.store.find(job) for key, job in jobs.items()}
        self._model.schedules.fire(rows, self._now_ms)
        assert not rows
