"""Keys: how many jobs of a key run at once, in which order, and what frees a place for the next."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from queued.core.job_changes import JobChanges
from queued.core.model import KeyUser, Label, NewJob, State
from queued.core.records import JobFilter
from queued.core.runs import Claim
from queued.store.ledger import Ledger
from tests.store.engine import FAILED, NOW, OK, Engine, plain_shares, retry_all

LATER = NOW + 60_000


def add(engine: Engine, name: str, **fields: Any) -> int:
    return engine.add(id=name, **{"key": "k", **fields})


def claim_all(engine: Engine, *, now_ms: int = NOW, ledger: Ledger | None = None) -> list[Claim]:
    """Claims all that is ready after a promotion, as a turn does."""
    ledger = ledger or engine.ledger
    with ledger.transaction():
        ledger.promote(now_ms=now_ms, limit=1000)
        shares = plain_shares(ledger)
        return ledger.claim("i", [1] * 20, 77, now_ms=now_ms, shares=shares)


def started(engine: Engine, *, now_ms: int = NOW) -> list[str]:
    return [claim.id for claim in claim_all(engine, now_ms=now_ms)]


def give_back(engine: Engine, claim: Claim) -> bool:
    with engine.ledger.transaction():
        return engine.ledger.unclaim(claim.key, now_ms=NOW)


def test_jobs_of_a_key_run_one_after_the_other_in_order(engine: Engine) -> None:
    add(engine, "a")
    add(engine, "b")
    add(engine, "urgent", priority=1)
    add(engine, "other", key="K")
    engine.add(id="free")
    claims = {claim.id: claim for claim in claim_all(engine)}
    assert claims.keys() == {"urgent", "other", "free"}
    assert {job.id for job in engine.jobs(Label.BLOCKED)} == {"a", "b"}
    assert engine.store.queues.key_users("k") == ["urgent"]
    for name in ("urgent", "a"):
        engine.end(claims[name])
        claims |= {claim.id: claim for claim in claim_all(engine)}
    assert [*claims][-2:] == ["a", "b"]
    engine.check_counters()


def test_a_key_has_as_many_places_as_its_limit(engine: Engine) -> None:
    for name in "abcde":
        add(engine, name, key_limit=3)
    first = claim_all(engine)
    assert [claim.id for claim in first] == ["a", "b", "c"]
    engine.end(first[1])
    assert started(engine) == ["d"]
    assert started(engine) == []


def test_each_job_of_a_line_takes_a_place_by_its_own_limit(engine: Engine) -> None:
    for name, limit in zip("abcdef", (3, 5, 5, 2, 9, 9), strict=True):
        add(engine, name, key_limit=limit)
    assert started(engine) == ["a", "b", "c"]
    engine.store.cancel(4, now_ms=NOW)
    assert started(engine) == ["e", "f"]


def test_the_limit_of_the_first_job_of_a_line_decides(engine: Engine) -> None:
    add(engine, "a", key_limit=3)
    add(engine, "b", key_limit=1)
    add(engine, "c", key_limit=3)
    first = claim_all(engine)
    assert [claim.id for claim in first] == ["a"]
    engine.end(first[0])
    assert started(engine) == ["b", "c"], "c starts while fewer than three run"


def test_a_ready_job_lets_a_more_urgent_one_go_first(engine: Engine) -> None:
    add(engine, "a")
    engine.promote(now_ms=NOW)
    add(engine, "urgent", priority=1)
    assert started(engine) == ["urgent"]


def test_a_job_that_waits_for_its_time_or_its_release_leaves_the_key_free(engine: Engine) -> None:
    failed = add(engine, "failed")
    add(engine, "scheduled", delay_ms=60_000)
    add(engine, "held", hold=True)
    (claim,) = claim_all(engine)
    assert engine.end(claim, FAILED) is State.PENDING
    add(engine, "b")
    (claim,) = claim_all(engine)
    assert (claim.id, engine.store.show(failed).label) == ("b", Label.FAILED)
    assert started(engine, now_ms=LATER) == []
    engine.end(claim, now_ms=LATER)
    assert started(engine, now_ms=LATER) == ["failed"]


Free = Callable[[Engine, Claim], object]
FREEING: dict[str, Free] = {
    "completed": lambda engine, claim: engine.end(claim),
    "failed": lambda engine, claim: engine.end(claim, FAILED),
    "held": lambda engine, claim: (
        give_back(engine, claim),
        engine.store.edits.hold([claim.key.job], now_ms=NOW),
    ),
    "cancelled": lambda engine, claim: (
        give_back(engine, claim),
        engine.store.cancel(claim.key.job, now_ms=NOW),
    ),
    "cancelled with others": lambda engine, claim: (
        give_back(engine, claim),
        engine.store.cancel_all([claim.key.job], JobFilter(), now_ms=NOW),
    ),
}


@pytest.mark.parametrize("how", FREEING)
def test_what_gives_up_a_place_gives_it_to_the_next_job(engine: Engine, how: str) -> None:
    for name in "abc":
        add(engine, name)
    (claim,) = claim_all(engine)
    FREEING[how](engine, claim)
    assert started(engine) == ["b"]
    assert started(engine) == []


def test_a_job_can_be_moved_to_the_front_of_the_line_of_its_key(engine: Engine) -> None:
    _, second, _ = (add(engine, name) for name in "abc")
    (running,) = claim_all(engine)
    edits = engine.store.edits
    assert (edits.first("default", "k"), edits.first("default", None)) == (second, None)
    edits.edit([3], JobChanges(run_at_ms=NOW - 1), now_ms=NOW)
    engine.end(running)
    assert started(engine) == ["c"]


def test_an_undone_claim_keeps_its_place(engine: Engine) -> None:
    for name in "ab":
        add(engine, name)
    (claim,) = claim_all(engine)
    assert give_back(engine, claim)
    assert started(engine) == ["a"]


def test_an_undone_claim_lets_a_more_urgent_job_go_first(engine: Engine) -> None:
    add(engine, "a")
    (claim,) = claim_all(engine)
    add(engine, "urgent", priority=1)
    assert started(engine) == []
    assert give_back(engine, claim)
    assert started(engine) == ["urgent"]


def test_a_job_that_leaves_the_line_is_passed_over(engine: Engine) -> None:
    for name in "abcde":
        add(engine, name)
    add(engine, "later", run_at_ms=NOW - 1)
    (claim,) = claim_all(engine)
    assert claim.id == "later", "in the order of due times"
    engine.store.cancel(engine.store.find("a"), now_ms=NOW)
    engine.store.edits.hold([engine.store.find("b")], now_ms=NOW)
    engine.end(claim)
    (claim,) = claim_all(engine)
    assert claim.id == "c"
    engine.store.edits.release([engine.store.find("b")], now_ms=NOW)
    engine.end(claim)
    assert started(engine) == ["b"]


def test_a_retried_job_waits_in_line_again(engine: Engine) -> None:
    dead = engine.put(State.DEAD, id="dead", max_retries=1).row
    for name in "ab":
        add(engine, name)
    (claim,) = claim_all(engine)
    engine.store.cancel(engine.store.find("b"), now_ms=NOW)
    assert retry_all(engine.store, Label.CANCELLED) == ["b"]
    engine.store.retry([dead], now_ms=NOW)
    assert started(engine) == ["dead"], "it has no key"
    engine.end(claim)
    assert started(engine) == ["b"]


def test_an_expired_job_frees_its_place(engine: Engine) -> None:
    add(engine, "a", expires_at_ms=NOW + 10)
    add(engine, "b")
    engine.promote(now_ms=NOW)
    with engine.ledger.transaction():
        engine.ledger.promote(now_ms=NOW + 10, limit=10)
        (claim,) = engine.ledger.expire("i", 5, now_ms=NOW + 10, limit=10)
    assert claim.id == "a"
    assert started(engine, now_ms=NOW + 10) == []
    engine.end(claim)
    assert started(engine, now_ms=NOW + 10) == ["b"]


def test_a_job_can_be_discarded_while_its_key_is_in_use(engine: Engine) -> None:
    def enqueue(*names: str, limit: int = 2, **fields: Any) -> list[str]:
        discarded = [
            NewJob("true", name, key="k", key_limit=limit, on_conflict="discard", **fields)
            for name in names
        ]
        added = engine.store.enqueue(discarded, max_retries=3, now_ms=NOW)
        return [f"{name}!" if isinstance(name, KeyUser) else name for name in added]

    assert enqueue("later", delay_ms=1000) == ["later"]
    assert enqueue("a", "b", "c") == ["a", "b", "a!"]
    (one, two) = claim_all(engine)
    assert enqueue("d") == ["a!"], "those that run count, too"
    assert enqueue("e", limit=3) == ["e"]
    engine.end(one)
    engine.end(two)
    assert enqueue("f", "g") == ["f", "e!"]
    assert {job.id for job in engine.jobs(key="k")} == {"later", "a", "b", "e", "f"}


def test_a_job_that_was_added_at_once_uses_its_key_for_older_clocks(engine: Engine) -> None:
    job = engine.add(key="k", now_ms=NOW + 5)
    new = NewJob("true", key="k", on_conflict="discard")
    assert engine.store.enqueue([new], max_retries=3, now_ms=NOW) == [engine.store.show(job).id]


@pytest.mark.parametrize("first", [{"unique_key": "u"}, {"after": ("a",)}])
def test_a_job_of_the_same_batch_that_is_not_stored_or_waits_does_not_use_the_key(
    engine: Engine, first: dict[str, Any]
) -> None:
    engine.add(id="a", unique_key="u")
    jobs = [
        NewJob("true", "b", key="k", **first),
        NewJob("true", "c", key="k", on_conflict="discard"),
    ]
    assert engine.store.enqueue(jobs, max_retries=3, now_ms=NOW)[1] == "c"
    assert engine.jobs()[-1].id == "c"


def test_of_many_programs_at_once_one_adds_a_job_that_may_be_discarded(engine: Engine) -> None:
    added: list[str] = []
    start = threading.Barrier(4)

    def work() -> None:
        store = engine.another_store()
        order = 1 - 2 * (start.wait() % 2)  # programs that add in opposite orders end, too
        jobs = [NewJob("true", key=f"k{n}", on_conflict="discard") for n in range(20)]
        added.extend(store.enqueue(jobs[::order], max_retries=3, now_ms=NOW))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) == 80
    assert sorted(job.key or "" for job in engine.jobs()) == sorted(f"k{n}" for n in range(20))


def test_dispatchers_at_once_never_start_more_than_the_limit(engine: Engine) -> None:
    """Each claims and settles as fast as it can, and counts what runs at that moment."""
    for n in range(60):
        add(engine, f"a{n}", key=f"k{n % 3}", key_limit=1 + n % 3)
    running: dict[str, int] = {f"k{n}": 0 for n in range(3)}
    lock, most, left = threading.Lock(), dict(running), [60]

    def work() -> None:
        ledger = engine.another_ledger()
        while left[0] > 0:
            claims = claim_all(engine, ledger=ledger)
            with lock:
                for claim in claims:
                    key = f"k{int(claim.id[1:]) % 3}"
                    running[key] += 1
                    most[key] = max(most[key], running[key])
            for claim in claims:
                with lock:
                    running[f"k{int(claim.id[1:]) % 3}"] -= 1
                    left[0] -= 1
                settle(ledger, claim)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == {"k0": 1, "k1": 2, "k2": 3}
    assert {job.state for job in engine.jobs()} == {State.COMPLETED}


def settle(ledger: Ledger, claim: Claim) -> None:
    from queued.core.settlement import Settlement, judge
    from tests.store.engine import BACKOFF

    ending = Settlement(claim, OK, judge(claim, OK, BACKOFF, now_ms=NOW))
    with ledger.transaction():
        assert ledger.settle([ending], now_ms=NOW) == [State.COMPLETED]
