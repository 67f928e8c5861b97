"""Queues as such: exact limits, pauses, new jobs of a queue, and what clears it."""

import pytest

from queued.core.errors import ConflictError
from queued.core.model import NewJob
from queued.core.records import Queue, Share
from queued.core.runs import Claim
from queued.store.ledger import Ledger
from tests.store.engine import NOW, Engine, plain_shares


def _claims(ledger: Ledger, count: int, token: int, *queues: str) -> list[Claim]:
    shares = {share.queue: share for share in plain_shares(ledger)}
    wanted = [shares[queue] for queue in queues or shares]
    return ledger.claim("i", [*range(1, count + 1)], token, now_ms=NOW, shares=wanted)


def test_a_limit_holds_over_all_claims(engine: Engine) -> None:
    jobs = [engine.add(queue="mail") for _ in range(5)]
    free = engine.add()
    assert engine.store.queues.change("mail", concurrency=2) == Queue("mail", 2)
    with engine.ledger.transaction():
        first = _claims(engine.ledger, 1, 100, "mail")
        more = _claims(engine.ledger, 4, 200, "mail", "default")
    assert [one.key.job for one in [*first, *more]] == [jobs[0], jobs[1], free]
    assert engine.store.queues.used_places() == {"mail": 2}
    other = engine.another_ledger()
    with other.transaction():
        assert _claims(other, 9, 300, "mail") == []
    engine.end(first[0])
    with engine.ledger.transaction():
        assert [one.key.job for one in _claims(engine.ledger, 9, 400, "mail")] == [jobs[2]]
    engine.store.queues.change("mail", concurrency=0)
    engine.store.queues.change("mail", concurrency=None)
    with engine.ledger.transaction():
        assert len(_claims(engine.ledger, 9, 500, "mail")) == 2


def test_several_queues_are_changed_at_once(engine: Engine) -> None:
    engine.store.queues.change("mail", concurrency=2)
    engine.store.queues.change_each({"video": {"paused_ms": NOW}, "mail": {"draining_ms": NOW}})
    assert engine.store.queues.all() == [
        Queue("mail", 2, draining_ms=NOW),
        Queue("video", paused_ms=NOW),
    ]


def test_a_heavy_job_takes_its_places_and_waits_for_them_in_its_turn(engine: Engine) -> None:
    engine.store.queues.change("video", concurrency=4)
    light, heavy, huge = (engine.add(queue="video", slots=slots) for slots in (2, 3, 99))
    assert engine.store.show(heavy).slots == 3
    with engine.ledger.transaction():
        (first,) = _claims(engine.ledger, 9, 100, "video")
    assert (first.key.job, engine.store.queues.used_places()) == (light, {"video": 2})
    engine.end(first)
    with engine.ledger.transaction():
        (second,) = _claims(engine.ledger, 9, 200, "video")
    assert second.key.job == heavy
    engine.end(second)
    with engine.ledger.transaction():
        (third,) = _claims(engine.ledger, 9, 300, "video")
    assert third.key.job == huge, "it takes all places of its queue"


def test_a_heavy_job_waits_in_its_turn_before_jobs_of_another_lane(engine: Engine) -> None:
    engine.store.queues.change("default", concurrency=2)
    first, heavy, _ = engine.add(), engine.add(slots=2), engine.add(requires="gpu")
    running = engine.must_claim()
    shares = plain_shares(engine.ledger, {"gpu"})
    assert (running.key.job, shares[0].limited) == (first, True)
    with engine.ledger.transaction():
        assert engine.ledger.claim("i", [1, 2], 100, now_ms=NOW, shares=shares) == []
    engine.end(running)
    with engine.ledger.transaction():
        claims = engine.ledger.claim("i", [1, 2], 200, now_ms=NOW, shares=shares)
    assert [one.key.job for one in claims] == [heavy]


def test_no_dispatcher_claims_of_a_paused_queue_even_if_it_has_not_heard(engine: Engine) -> None:
    job = engine.add()
    engine.store.queues.change("default", paused_ms=NOW, paused_by="ann", paused_reason="why")
    assert engine.store.queues.all() == [Queue("default", None, 0, 1, NOW, "ann", "why")]
    for limited in (False, True):
        with engine.ledger.transaction():
            share = Share("default", limited=limited)
            assert engine.ledger.claim("i", [1], 7, now_ms=NOW, shares=[share]) == []
    engine.store.queues.change("default", paused_ms=None, paused_by=None, paused_reason=None)
    assert engine.must_claim().key.job == job


def test_a_limit_that_a_dispatcher_has_not_heard_of_is_kept(engine: Engine) -> None:
    engine.add()
    engine.store.queues.change("default", concurrency=0)
    assert engine.claim() is None
    with engine.ledger.transaction():
        assert engine.ledger.claim("i", [1], 7, now_ms=NOW) == []


def test_a_search_finds_the_lanes_with_ready_jobs(engine: Engine) -> None:
    for queue in "abc":
        engine.add(queue=queue, run_at_ms=NOW + (queue == "b"))
    with engine.ledger.transaction():
        lanes = {lane.number: lane.queue for lane in engine.ledger.lanes(after=-1)}
        assert [lanes[lane] for lane in engine.ledger.queues.ready_lanes()] == ["a", "c"]


def test_the_oldest_ready_job_of_each_queue(engine: Engine) -> None:
    assert engine.store.queues.oldest_ready() == {}
    engine.add(queue="later", run_at_ms=NOW + 1)
    engine.add(queue="a", priority=5, run_at_ms=NOW - 1)
    engine.add(queue="a", run_at_ms=NOW - 9)
    engine.add(queue="b", run_at_ms=NOW - 2)
    engine.add(queue="b", requires="gpu", run_at_ms=NOW - 3)
    assert engine.store.queues.oldest_ready() == {"a": NOW - 9, "b": NOW - 3}


def test_a_draining_queue_takes_no_new_jobs_and_runs_its_own(engine: Engine) -> None:
    job = engine.add(queue="mail")
    engine.store.queues.change("mail", draining_ms=NOW)
    with pytest.raises(ConflictError, match="mail is draining"):
        engine.store.enqueue(
            [NewJob("true"), NewJob("true", queue="mail")], max_retries=3, now_ms=NOW
        )
    assert [found.seq for found in engine.jobs()] == [job]
    assert engine.must_claim().key.job == job


def test_new_jobs_get_the_defaults_of_their_queue(engine: Engine) -> None:
    engine.store.queues.change("mail", defaults='{"max_retries": 7, "nice": 5, "timeout": 60.0}')
    own = engine.store.show(engine.add(queue="mail", options='{"nice": 9}'))
    assert (own.max_retries, own.options.nice, own.options.timeout) == (7, 9, 60.0)
    other = engine.store.show(engine.add(max_retries=2))
    assert (other.max_retries, other.options.nice) == (2, None)


def test_what_is_set_for_a_queue_is_forgotten(engine: Engine) -> None:
    engine.store.queues.change("mail", weight=3)
    assert engine.store.queues.remove("mail")
    assert not engine.store.queues.remove("mail")
    assert engine.store.queues.all() == []
