"""Unique keys: which job holds a key, until when, and what a second job with it becomes."""

import threading
from typing import Any

import pytest

from queued.core.errors import ConflictError, DuplicateJobError, TakenKeyError
from queued.core.model import ExistingJob, Label, NewJob, State
from queued.store.protocols import Store
from tests.store.engine import FAILED, NOW, Engine, purge, retry_all


def enqueue(store: Store, *jobs: NewJob, now_ms: int = NOW, **how: Any) -> list[tuple[str, bool]]:
    """Returns the ids, each with whether it is that of an existing job."""
    ids = store.enqueue(jobs, max_retries=3, now_ms=now_ms, **how)
    return [(str(name), isinstance(name, ExistingJob)) for name in ids]


def keyed(name: str, **fields: Any) -> NewJob:
    return NewJob("true", name, unique_key="k", **fields)


def is_free(engine: Engine, *, now_ms: int = NOW) -> bool:
    """Whether a new job gets the key; the job is removed again."""
    job = NewJob("true", unique_key="k", unique_while="waiting", unique_for_ms=0, run_at_ms=NOW * 2)
    ((name, existing),) = enqueue(engine.store, job, now_ms=now_ms)
    if not existing:
        engine.store.cancel(engine.store.find(name), now_ms=NOW)
    return not existing


def test_a_job_with_a_taken_key_is_not_stored(engine: Engine) -> None:
    assert enqueue(engine.store, keyed("a")) == [("a", False)]
    other = NewJob("true", "other", unique_key="K")
    assert enqueue(engine.store, keyed("b"), other, keyed("a"), NewJob("true", "c")) == [
        ("a", True),
        ("other", False),
        ("a", True),
        ("c", False),
    ]
    assert [job.id for job in engine.jobs()] == ["a", "other", "c"]
    found = engine.store.show(engine.store.find("a"))
    assert (found.unique_key, found.unique_while, found.unique_until_ms) == ("k", "active", None)


def test_one_key_twice_in_a_batch_is_stored_once(engine: Engine) -> None:
    two = enqueue(engine.store, keyed("a"), keyed("b"))
    assert two == [("a", False), ("a", True)]
    assert enqueue(engine.store, keyed("c"), on_taken_key="keep", skip_existing=True) == [two[1]]


def test_a_taken_key_can_be_an_error(engine: Engine) -> None:
    engine.add(id="a", unique_key="k")
    with pytest.raises(TakenKeyError, match="the job a has the unique key 'k'") as refused:
        enqueue(engine.store, NewJob("true"), keyed("b"), on_taken_key="fail")
    assert refused.value.index == 1
    with pytest.raises(DuplicateJobError):
        enqueue(engine.store, NewJob("true", "a", unique_key="free"))
    assert [job.id for job in engine.jobs()] == ["a"]


@pytest.mark.parametrize(
    ("unique_while", "free"),
    [
        ("waiting", {"running", "failed", "completed", "removed"}),
        ("active", {"completed", "removed"}),
        ("any", {"removed"}),
    ],
)
def test_a_job_holds_its_key_as_long_as_it_was_given(
    engine: Engine, unique_while: str, free: set[str]
) -> None:
    found = set()

    def look(stage: str) -> None:
        if is_free(engine):
            found.add(stage)

    engine.add(id="a", unique_key="k", unique_while=unique_while)
    look("pending")
    claim = engine.must_claim()
    look("running")
    engine.end(claim, FAILED)
    look("failed")
    engine.promote(now_ms=NOW + 60_000)
    engine.end(engine.must_claim(now_ms=NOW + 60_000), now_ms=NOW + 60_000)
    look("completed")
    assert purge(engine.store, Label.COMPLETED) == [1]
    look("removed")
    assert found == free


def test_a_claim_that_is_undone_leaves_the_key_free(engine: Engine) -> None:
    """Another job may have it by then."""
    engine.add(id="a", unique_key="k", unique_while="waiting")
    claim = engine.must_claim()
    assert enqueue(engine.store, keyed("b", unique_while="waiting")) == [("b", False)]
    with engine.ledger.transaction():
        assert engine.ledger.unclaim(claim.key, now_ms=NOW)
    assert engine.store.show(claim.key.job).unique_while is None


@pytest.mark.parametrize("unique_while", ["active", "any"])
def test_a_key_is_held_for_a_time_at_most(engine: Engine, unique_while: str) -> None:
    engine.add(id="a", unique_key="k", unique_while=unique_while, unique_for_ms=1000)
    if unique_while == "any":
        engine.end(engine.must_claim())
    assert not is_free(engine, now_ms=NOW + 999)
    assert is_free(engine, now_ms=NOW + 1000)


def test_a_waiting_job_can_be_replaced(engine: Engine) -> None:
    old = engine.add(id="a", unique_key="k", unique_while="any")
    assert enqueue(engine.store, keyed("b"), keyed("c"), on_taken_key="replace") == [
        ("b", False),
        ("c", False),
    ]
    states = [(job.id, job.state, job.last_error) for job in engine.jobs()]
    assert states == [
        ("a", State.CANCELLED, "replaced by b"),
        ("b", State.CANCELLED, "replaced by c"),
        ("c", State.PENDING, None),
    ]
    assert engine.must_claim().id == "c"
    assert enqueue(engine.store, keyed("d"), on_taken_key="replace") == [("c", True)]
    assert engine.store.show(old).unique_while is None
    with pytest.raises(ConflictError, match="b: c has its unique key 'k'; nothing was retried"):
        engine.store.retry([engine.store.find("b")], now_ms=NOW)
    engine.check_counters()


def test_a_retry_takes_the_key_again_or_is_refused(engine: Engine) -> None:
    rows = [engine.put(State.DEAD, id=name, unique_key="k").row for name in ("a", "b")]
    with pytest.raises(ConflictError, match="has its unique key 'k'; nothing was retried"):
        engine.store.retry(rows, now_ms=NOW)
    assert {job.state for job in engine.jobs()} == {State.DEAD}
    assert engine.store.retry(rows[1:], now_ms=NOW) == ["b"]
    with pytest.raises(ConflictError, match="a: b has its unique key 'k'; nothing was retried"):
        engine.store.retry(rows[:1], now_ms=NOW)
    engine.put(State.DEAD, id="c", unique_key="K", priority=1)
    engine.put(State.DEAD, id="d", unique_key="K", priority=1)
    engine.put(State.DEAD, id="e", unique_key="e", unique_while="any", priority=1)
    engine.put(State.DEAD, id="f", priority=1)
    assert retry_all(engine.store) == ["c", "e", "f"]


def test_of_many_programs_at_once_one_stores_its_job(engine: Engine) -> None:
    stores = [engine.another_store() for _ in range(8)]
    results: list[tuple[str, bool]] = []
    start = threading.Barrier(len(stores))

    def work(store: Store) -> None:
        start.wait()
        for n in range(25):
            results.extend(enqueue(store, NewJob("true", unique_key=f"k{n}")))

    threads = [threading.Thread(target=work, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    stored = [name for name, existing in results if not existing]
    assert sorted(stored) == sorted({name for name, _ in results})
    assert sorted(stored) == sorted(job.id for job in engine.jobs())
    assert len(stored) == 25
