"""Ended jobs are removed in bounded steps; jobs that have not ended are kept."""

from typing import Any

import pytest

from queued.core.errors import NotFoundError, UsageError
from queued.core.model import Label, NewJob, State
from queued.core.records import JobFilter
from queued.core.runs import Chunk
from queued.core.settings_in_force import Settings
from queued.service.dispatcher.pruner import Pruner
from queued.store import pruning
from tests.default_settings import DEFAULTS
from tests.store.engine import FAILED, NOW, OK, Engine, purge

FINAL = [State.COMPLETED, State.DEAD, State.CANCELLED]
DAY_MS = 86_400_000
KEPT = DEFAULTS._replace(retention_completed=10.0, retention_dead=0.0, retention_cancelled=20.0)


class Log:
    """Collects the log lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def retention(engine: Engine, log: Log) -> Pruner:
    return Pruner(engine.ledger, log)  # type: ignore[arg-type]  # as much of a log as is needed


def _steps(
    engine: Engine, retention: Pruner, now_ms: int, settings: Settings = KEPT, now_s: float = 0
) -> int:
    """Turns of a dispatcher at one moment until nothing is left to do; how many."""
    for count in range(1000):
        now_s = max(now_s, 0 if retention.next_s == float("inf") else retention.next_s)
        if not retention.begin_if_due(settings, now_ms, now_s):
            return count
        with engine.ledger.transaction():
            retention.step(now_s)
        retention.on_committed(now_s + 0.001)
    raise AssertionError


def _rows(engine: Engine) -> set[int]:
    return {job.seq for job in engine.jobs()}


def _chatty(engine: Engine, pieces: int, runs: int = 1) -> int:
    """A job that ended after some failed runs, the first of which printed."""
    job = engine.add(max_retries=runs)
    for run in range(runs):
        claim = engine.must_claim(now_ms=NOW + run * DAY_MS)
        with engine.ledger.transaction():
            if run == 0 and pieces:
                output = [(claim.key, Chunk(1, piece, b"x")) for piece in range(pieces)]
                engine.ledger.store_output(output)
        engine.end(claim, FAILED if run + 1 < runs else OK, now_ms=NOW)
        engine.promote(now_ms=NOW + (run + 1) * DAY_MS)
    return job


@pytest.mark.parametrize("state", State)
def test_a_purge_removes_what_ended_in_that_state_and_nothing_else(
    engine: Engine, state: State
) -> None:
    jobs = {state: engine.put(state).row for state in (*FINAL, State.PROCESSING, State.PENDING)}
    if state in FINAL:
        assert purge(engine.store, Label(state)) == [1]
        assert list(engine.store.attempts(jobs[state])) == []
    else:
        with pytest.raises(UsageError, match="only jobs that are completed, dead or cancelled"):
            purge(engine.store, Label(state))
    gone = {jobs[state]} if state in FINAL else set()
    assert _rows(engine) == set(jobs.values()) - gone
    engine.check_counters()


@pytest.mark.parametrize("state", FINAL)
def test_a_purge_looks_at_age_and_queue(engine: Engine, state: State) -> None:
    young = engine.put(state, queue="a").row
    other = engine.put(state, queue="b").row
    assert purge(engine.store, Label(state), queue="a", before_ms=NOW) == [0]
    assert purge(engine.store, Label(state), queue="a", before_ms=NOW + 1) == [1]
    assert _rows(engine) == {other} != {young}


def test_much_output_is_removed_over_several_transactions(engine: Engine) -> None:
    first, second = _chatty(engine, 250), _chatty(engine, 30)
    steps = []
    for _ in range(3):
        removal = engine.store.purge([first, second], JobFilter((Label.COMPLETED,)))
        left = len(list(engine.store.output(first, 1, 1)))
        steps.append((left, first in _rows(engine), removal))
    assert steps == [(150, True, (0, False)), (50, True, (0, False)), (0, False, (2, True))]
    assert second not in _rows(engine)


def test_many_attempts_are_removed_over_several_transactions(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "ATTEMPTS", 2)
    job = _chatty(engine, 1, runs=5)
    assert purge(engine.store, Label.COMPLETED) == [0, 0, 1]
    assert job not in _rows(engine)


def test_retention_keeps_each_state_as_long_as_it_says(
    engine: Engine, retention: Pruner, log: Log
) -> None:
    jobs = {state: engine.put(state).row for state in (*FINAL, State.PROCESSING, State.PENDING)}
    for after_ms, gone in (
        (9_001, set()),
        (10_001, {State.COMPLETED}),
        (19_001, {State.COMPLETED}),
        (20_001, {State.COMPLETED, State.CANCELLED}),
        (2_000 * DAY_MS, {State.COMPLETED, State.CANCELLED}),
    ):
        _steps(engine, retention, NOW + after_ms)
        assert _rows(engine) == {row for state, row in jobs.items() if state not in gone}
    assert log.lines == [
        {"event": "jobs.pruned", "completed": 1, "cancelled": 0},
        {"event": "jobs.pruned", "completed": 0, "cancelled": 1},
    ]
    engine.check_counters()


def test_retention_wakes_when_the_next_is_due(engine: Engine, retention: Pruner) -> None:
    engine.put(State.COMPLETED)
    _steps(engine, retention, NOW + 4000)
    assert retention.next_ms == NOW + 10_001
    assert retention.next_s == float("inf")
    _steps(engine, retention, NOW + 10_001)
    assert _rows(engine) == set()
    assert retention.next_ms == NOW + 20_001, "the time at which a job that ends now is due"


def test_passes_are_an_hour_apart_where_jobs_are_kept_for_days(
    engine: Engine, retention: Pruner
) -> None:
    days = DEFAULTS
    engine.put(State.COMPLETED)
    due_ms = NOW + 30 * DAY_MS
    _steps(engine, retention, due_ms - 60_000, days)
    assert retention.next_ms == due_ms - 60_000 + 3_600_000


def test_a_new_setting_is_taken_at_once(engine: Engine, retention: Pruner) -> None:
    job = engine.put(State.DEAD).row
    assert _steps(engine, retention, NOW + DAY_MS) > 0
    assert _steps(engine, retention, NOW + DAY_MS) == 0
    assert job in _rows(engine)
    _steps(engine, retention, NOW + DAY_MS, KEPT._replace(retention_dead=1.0))
    assert job not in _rows(engine)


def test_nothing_is_ever_due_where_all_is_kept(engine: Engine, retention: Pruner) -> None:
    for_ever = DEFAULTS._replace(retention_completed=0.0, retention_cancelled=0.0)
    engine.put(State.COMPLETED)
    assert _steps(engine, retention, NOW + 9999 * DAY_MS, for_ever) == 0
    assert (retention.next_s, retention.next_ms) == (float("inf"), None)


def test_a_step_is_small_and_followed_by_a_rest(engine: Engine, retention: Pruner) -> None:
    for _ in range(450):
        engine.put(State.CANCELLED)
    now_ms = NOW + DAY_MS
    left = []
    for _ in range(4):
        assert retention.begin_if_due(KEPT, now_ms, 100.0)
        with engine.ledger.transaction():
            retention.step(100.0)
        retention.on_committed(100.5)
        left.append(len(_rows(engine)))
        assert not retention.begin_if_due(KEPT, now_ms, 104.4)
        retention.next_s = 100.0
    assert left == [450, 450, 450, 250]


def test_a_step_that_was_not_committed_is_made_again(engine: Engine, retention: Pruner) -> None:
    job = engine.put(State.COMPLETED).row
    assert retention.begin_if_due(KEPT, NOW + DAY_MS, 0.0)
    with pytest.raises(ZeroDivisionError), engine.ledger.transaction():
        retention.step(0.0)
        raise ZeroDivisionError
    assert job in _rows(engine)
    _steps(engine, retention, NOW + DAY_MS)
    assert job not in _rows(engine)


def test_a_clock_that_was_just_set_removes_nothing(engine: Engine, retention: Pruner) -> None:
    job = engine.put(State.COMPLETED).row
    _steps(engine, retention, NOW)
    retention.clock_was_set(50.0)
    assert not retention.begin_if_due(KEPT, NOW + DAY_MS, 51.0)
    assert retention.next_s == 650.0
    assert retention.begin_if_due(KEPT, NOW + DAY_MS, 650.0)
    _steps(engine, retention, NOW + DAY_MS, now_s=650.0)
    assert job not in _rows(engine)


def test_a_clock_that_was_set_back_delays_nothing(engine: Engine, retention: Pruner) -> None:
    _steps(engine, retention, NOW + 300 * DAY_MS)
    job = engine.put(State.COMPLETED).row
    _steps(engine, retention, NOW + 60_000)
    assert job not in _rows(engine)


def test_a_walk_ends_where_the_jobs_are_too_young(engine: Engine) -> None:
    old = engine.put(State.COMPLETED).row
    late = NOW + DAY_MS
    for _ in range(20):
        engine.add(now_ms=late)
        engine.end(engine.must_claim(now_ms=late), now_ms=late)
    with engine.ledger.transaction():
        walked = [
            engine.ledger.prune(State.COMPLETED, after=after, before_ms=late, limit=5)
            for after in (0, 5)
        ]
    assert [(step.removed, step.after, step.done) for step in walked] == [
        (1, 5, False),
        (0, 10, True),
    ]
    assert walked[1].oldest_ms == late
    assert old not in _rows(engine)


def test_the_row_of_a_removed_job_is_never_reused(engine: Engine) -> None:
    """A client that has just looked up the row would cancel, or wait for, another job."""
    job = engine.put(State.CANCELLED).row
    other = engine.another_store()
    assert purge(other, Label.CANCELLED) == [1]
    assert other.enqueue([NewJob("true", "new")], max_retries=3, now_ms=NOW)
    assert other.find("new") > job
    with pytest.raises(NotFoundError, match="removed meanwhile"):
        engine.store.show(job)
