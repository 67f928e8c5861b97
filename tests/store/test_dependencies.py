"""Jobs that wait for the end of other jobs."""

from collections.abc import Callable
from typing import Any

import pytest

from queued.core.errors import ConflictError, NotFoundError, UsageError
from queued.core.model import CONDITIONS, Label, NewJob, Outcome, State
from queued.core.runs import Ending
from queued.core.settlement import Settlement, Verdict, judge
from queued.store import dependencies
from tests.store.engine import BACKOFF, FAILED, NOW, OK, Engine, purge

LATER = NOW + 60_000
MET = {
    ("after", State.COMPLETED),
    *(("after_any", state) for state in (State.COMPLETED, State.DEAD, State.CANCELLED)),
    ("after_fail", State.DEAD),
}


def _end(engine: Engine, job: int, state: State) -> None:
    """Brings the first ready job to its end."""
    if state is State.CANCELLED:
        engine.store.cancel(job, now_ms=NOW)
        return
    claim = engine.must_claim()
    assert claim.key.job == job
    ending = OK if state is State.COMPLETED else FAILED
    engine.settle(claim, Verdict(state, 0, NOW, None), ending)


def _expire_one(engine: Engine) -> None:
    """Ends the only job that has expired a millisecond after `NOW`."""
    with engine.ledger.transaction():
        (claim,) = engine.ledger.expire("i", 500, now_ms=NOW + 1, limit=9)
    engine.end(claim, Ending(Outcome.EXPIRED, error="late"), now_ms=NOW + 1)


def _label(engine: Engine, job: int) -> Label:
    return engine.store.show(job).label


def _told(engine: Engine, *, now_ms: int = NOW) -> None:
    while engine.promote(now_ms=now_ms) == now_ms:
        pass


@pytest.mark.parametrize("late", [False, True], ids=["before its end", "after its end"])
@pytest.mark.parametrize("state", [State.COMPLETED, State.DEAD, State.CANCELLED])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_job_starts_when_another_has_ended_so(
    engine: Engine, condition: str, state: State, *, late: bool
) -> None:
    first = engine.add(id="first")
    given: dict[str, Any] = {condition: ("first",), "id": "second"}
    if late:
        _end(engine, first, state)
    second = engine.add(**given)
    if not late:
        assert _label(engine, second) is Label.BLOCKED
        assert engine.store.status(now_ms=LATER).counts[Label.BLOCKED] == 1
        _end(engine, first, state)
        assert engine.claim(now_ms=LATER) is None
        _told(engine)
    met = (condition, state) in MET
    assert _label(engine, second) is (Label.PENDING if met else Label.CANCELLED)
    assert engine.store.show(second).lacks_dependency is not met
    (found,) = engine.store.dependencies(second, limit=9)
    assert found == ("first", Label(state), condition, "met" if met else "failed")
    assert (engine.claim() is not None) is met
    engine.check_counters()


def test_all_conditions_must_hold(engine: Engine) -> None:
    a, b = engine.add(id="a"), engine.add(id="b")
    both = engine.add(after=("a", "b"), after_any=("a",), hold=True)
    _end(engine, a, State.COMPLETED)
    _told(engine)
    engine.store.edits.release([both], now_ms=NOW)
    assert _label(engine, both) is Label.BLOCKED
    engine.store.edits.hold([both], now_ms=NOW)
    _end(engine, b, State.COMPLETED)
    _told(engine, now_ms=LATER)
    assert _label(engine, both) is Label.HELD
    engine.store.edits.release([both], now_ms=LATER)
    assert engine.must_claim(now_ms=LATER).key.job == both


def test_a_condition_that_holds_does_not_make_a_job_early(engine: Engine) -> None:
    a = engine.add(id="a")
    later = engine.add(after=("a",), delay_ms=5000)
    _end(engine, a, State.COMPLETED)
    assert engine.promote(now_ms=NOW) == NOW + 5000
    assert _label(engine, later) is Label.SCHEDULED


def test_dependents_of_a_dead_job_wait_again_when_it_is_retried(engine: Engine) -> None:
    a = engine.add(id="a")
    b, c = engine.add(id="b", after=("a",)), engine.add(id="c", after=("b",))
    aside = engine.add(id="d", after=("b",))
    engine.store.cancel(aside, now_ms=NOW)
    _end(engine, a, State.DEAD)
    _told(engine)
    assert engine.store.show(b).last_error == "dependency: a is dead"
    assert engine.store.show(c).last_error == "dependency: b is cancelled"
    engine.store.retry([a], now_ms=NOW)
    _told(engine)
    assert [_label(engine, job) for job in (b, c)] == [Label.BLOCKED] * 2
    assert _label(engine, aside) is Label.CANCELLED, "a user has cancelled it"
    for job in (a, b, c):
        _end(engine, job, State.COMPLETED)
        _told(engine)


def test_a_retried_dependent_waits_only_for_jobs_that_have_not_ended(engine: Engine) -> None:
    a, b = engine.add(id="a"), engine.add(id="b")
    c = engine.add(id="c", after=("a", "b"))
    _end(engine, a, State.DEAD)
    _told(engine)
    assert _label(engine, c) is Label.CANCELLED
    engine.store.retry([c], now_ms=NOW)
    assert _label(engine, c) is Label.BLOCKED
    _end(engine, b, State.COMPLETED)
    _told(engine)
    assert engine.must_claim().key.job == c


def test_one_batch_may_name_its_own_jobs_in_any_order(engine: Engine) -> None:
    jobs = [NewJob("true", id="b", after=("a",)), NewJob("true", id="a")]
    engine.store.enqueue(jobs, max_retries=3, now_ms=NOW)
    assert engine.must_claim().id == "a"
    assert engine.claim() is None


@pytest.mark.parametrize(
    ("jobs", "error", "told"),
    [
        ([("a", "x")], NotFoundError, "no job 'x', for which a is to wait"),
        ([("a", "b"), ("b", "c"), ("c", "a")], UsageError, "jobs wait for each other: "),
        ([("a", "a")], UsageError, "jobs wait for each other: a for a"),
    ],
)
def test_unknown_ids_and_cycles_are_refused(
    engine: Engine, jobs: list[tuple[str, str]], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        engine.store.enqueue(
            [NewJob("true", id=job, after=(other,)) for job, other in jobs],
            max_retries=3,
            now_ms=NOW,
        )
    assert engine.jobs() == []


def test_a_job_is_not_removed_before_its_dependents_were_told(engine: Engine) -> None:
    a = engine.add(id="a")
    b = engine.add(id="b", after_any=("a",))
    engine.store.cancel(a, now_ms=NOW)
    for told in (False, True):
        removed = sum(purge(engine.store, Label.CANCELLED))
        with engine.ledger.transaction():
            step = engine.ledger.prune(State.CANCELLED, after=0, before_ms=LATER, limit=9)
        assert (removed, step.removed) == (int(told), 0)
        _told(engine)
    assert _label(engine, b) is Label.PENDING
    assert engine.store.dependencies(b, limit=9) == []


def test_a_dependent_of_a_removed_job_never_starts(engine: Engine) -> None:
    a, b = engine.add(id="a"), engine.add(id="b")
    c = engine.add(id="c", after=("a", "b"))
    _end(engine, a, State.DEAD)
    _told(engine)
    assert sum(purge(engine.store, Label.DEAD)) == 1
    _end(engine, b, State.COMPLETED)
    _told(engine)
    assert engine.store.show(c).lacks_dependency
    engine.store.retry([c], now_ms=NOW)
    assert engine.must_claim().key.job == c, "a user wants it all the same"


def test_the_dependents_of_many_are_told_in_bounded_turns(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_LIMIT", 2)
    a = engine.add(id="a")
    jobs = [engine.add(after=("a",)) for _ in range(5)]
    _end(engine, a, State.COMPLETED)
    for ready in (2, 4, 5):
        due = engine.promote(now_ms=NOW)
        assert sum(_label(engine, job) is Label.PENDING for job in jobs) == ready
    assert due is None


def test_a_rolled_back_end_releases_no_job(engine: Engine) -> None:
    engine.add(id="a")
    b = engine.add(id="b", after=("a",))
    claim = engine.must_claim()
    ending = Settlement(claim, OK, judge(claim, OK, BACKOFF, now_ms=NOW))
    with pytest.raises(ConflictError), engine.ledger.transaction():
        engine.ledger.settle([ending], now_ms=NOW)
        engine.ledger.promote(now_ms=NOW, limit=9)
        raise ConflictError
    assert _label(engine, b) is Label.BLOCKED
    engine.end(claim)
    _told(engine)
    assert _label(engine, b) is Label.PENDING


def test_an_expired_job_and_a_replaced_one_have_ended_for_their_dependents(engine: Engine) -> None:
    engine.add(id="late", expires_at_ms=NOW + 1, run_at_ms=LATER, unique_key="k")
    engine.add(id="waits", after=("late",), expires_at_ms=LATER)
    helper = engine.add(after_fail=("late",), after_any=("waits",))
    engine.add(id="old", unique_key="old")
    after_old = engine.add(after_any=("old",), hold=True)
    new = NewJob("true", id="new", unique_key="old", hold=True)
    engine.store.enqueue([new], max_retries=3, now_ms=NOW, on_taken_key="replace")
    _expire_one(engine)
    _told(engine, now_ms=NOW + 1)
    assert engine.must_claim(now_ms=LATER).key.job == helper
    assert _label(engine, after_old) is Label.HELD
    assert engine.store.dependencies(after_old, limit=9)[0].status == "met"


def test_a_job_that_expires_while_it_waits_for_another_is_dead(engine: Engine) -> None:
    a = engine.add(id="a")
    b = engine.add(id="b", after=("a",), expires_at_ms=NOW + 1)
    _expire_one(engine)
    _end(engine, a, State.COMPLETED)
    _told(engine, now_ms=NOW + 2)
    assert _label(engine, b) is Label.DEAD
    engine.store.retry([b], now_ms=NOW + 3)
    assert engine.must_claim(now_ms=NOW + 3).key.job == b


def test_a_job_that_waits_again_has_given_its_unique_key_up(engine: Engine) -> None:
    a = engine.add(id="a")
    jobs = [engine.add(id="b", after=("a",), unique_key="k")]
    kept = engine.add(id="kept", after=("a",), unique_key="any", unique_while="any")
    _end(engine, a, State.DEAD)
    _told(engine)
    jobs.append(engine.add(id="c", after=("a",), unique_key="k"))
    jobs.append(engine.add(id="other", unique_key="k", hold=True))
    engine.store.retry([a], now_ms=NOW)
    _told(engine)
    assert [_label(engine, job) for job in (*jobs, kept)] == [
        *(Label.BLOCKED, Label.BLOCKED, Label.HELD, Label.BLOCKED)
    ]
    shown = [engine.store.show(job).unique_while for job in (*jobs, kept)]
    assert shown == [None, None, "active", "any"]


def test_a_job_that_was_not_added_waits_for_none(engine: Engine) -> None:
    engine.add(id="a")
    engine.add(id="b", unique_key="k")
    new = NewJob("true", id="c", unique_key="k", after=("a",))
    assert engine.store.enqueue([new], max_retries=3, now_ms=NOW) == ["b"]
    assert engine.store.dependencies(engine.store.find("b"), limit=9) == []


def test_a_job_waits_for_every_job_of_an_array(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = [engine.add(id=f"a_{index}", array_id="a") for index in (1, 2)]
    last = engine.add(after=("a",), after_any=("a_1", "a"))
    for job in array:
        assert _label(engine, last) is Label.BLOCKED
        _end(engine, job, State.COMPLETED)
        _told(engine)
    assert engine.must_claim().key.job == last
    assert [job.id for job in engine.jobs(array_id="a")] == ["a_1", "a_2"]


def test_many_jobs_that_would_wait_for_a_large_array_are_refused_before_a_row_is_made(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        engine.add(id=f"a_{index}", array_id="a")
    monkeypatch.setattr(dependencies, "_MOST_OF_ARRAYS", 11)
    database, ran = type(engine.store._database), list[str]()  # type: ignore[attr-defined]
    for method in (database.run, database.rows):
        monkeypatch.setattr(database, method.__name__, _noted(method, ran))

    def enqueue(many: int) -> None:
        jobs = [NewJob("true", after=("a",), after_any=("a",))] * many
        engine.store.enqueue(jobs, max_retries=3, now_ms=NOW)

    with pytest.raises(UsageError, match="too many jobs would wait for all jobs of an array"):
        enqueue(2)
    assert "count_of_arrays" in ran
    assert not {"await_jobs", "add_dependencies"} & {*ran}
    enqueue(1)
    assert {"await_jobs", "add_dependencies"} < {*ran}


def _noted(method: Callable[..., Any], ran: list[str]) -> Callable[..., Any]:
    """Returns the method, but it also notes the names of the statements that it runs."""

    def run(self: object, name: str, **values: Any) -> Any:
        ran.append(name)
        return method(self, name, **values)

    return run


def test_an_array_and_a_job_that_wait_for_each_other_are_refused(engine: Engine) -> None:
    jobs = [
        NewJob("true", id="a_1", array_id="a", after=("b",)),
        NewJob("true", id="b", after=("a",)),
    ]
    with pytest.raises(UsageError, match="jobs wait for each other: "):
        engine.store.enqueue(jobs, max_retries=3, now_ms=NOW)
