"""The state of a random walk: the database, a queue in memory, and that both hold the same."""

import itertools
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from queued.core import labels
from queued.core.model import Label, State
from queued.core.runs import Claim
from tests.store.engine import NOW, Engine
from tests.store.reference_queue import KEY_RATE_MS, Queue
from tests.store.reference_task import Task

QUEUES = st.sampled_from("ab")
STEPS_MS = st.sampled_from([0, 1, 700, 2000, 3000, 10_000, 3_600_000])


class WalkState(RuleBasedStateMachine):
    """A database and a queue in memory, and that both hold the same."""

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

    def _set_clock(self) -> int:
        with self._engine.ledger.transaction():
            return self._engine.ledger.shift_clock(
                boot_id="b", offset_ms=self._offset_ms, tolerance_ms=1000
            )

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
        for key in {"k", "K", "full"} | {f"array:{array}" for array in self._model.arrays}:
            running = [t for t in self._model.of_key(key) if t.state is State.PROCESSING]
            assert len(running) <= max((task.key_limit for task in running), default=0)
            assert self._model.started_since(key, self._now_ms - self._model.key_window) <= 2
        self._the_same_schedules()
        self._engine.check_counters(now_ms=self._now_ms)

    def _the_same_schedules(self) -> None:
        found = {one.name: one for one in self._engine.store.schedules.list()}
        assert found.keys() == self._model.schedules.timers.keys()
        for name, timer in self._model.schedules.timers.items():
            one = found[name]
            times = (one.next_ms, one.last_ms, one.paused_ms is not None)
            assert times == (timer.next, timer.last, timer.paused)
            assert (one.fired, one.skipped) == (timer.fired, timer.skipped)

    def _the_same_history(self, task: Task) -> None:
        attempts = self._engine.store.attempts(task.seq)
        assert [run.number for run in attempts] == list(range(1, task.runs + 1))
        running = [run.number for run in attempts if run.ended_ms is None]
        assert running == ([task.runs] if task.state is State.PROCESSING else [])
