"""Jobs that expire: none is claimed too late, and each becomes dead in bounded steps."""

import pytest

from queued.core.model import Outcome, State
from queued.core.runs import Ending
from queued.core.settlement import judge
from tests.store.engine import BACKOFF, FAILED, NOW, Engine


def expire(engine: Engine, *, now_ms: int, limit: int = 10) -> list[str]:
    """Ends expired jobs as the dispatcher does; returns their ids."""
    engine.promote(now_ms=now_ms)
    with engine.ledger.transaction():
        engine.ledger.promote(now_ms=now_ms, limit=1)
        due_ms = engine.ledger.next_expiry()
        if due_ms is None or due_ms > now_ms:
            return []
        claims = engine.ledger.expire("i", 500, now_ms=now_ms, limit=limit)
    for claim in claims:
        assert engine.end(claim, Ending(Outcome.EXPIRED, error="late"), now_ms=now_ms)
    return [claim.id for claim in claims]


def test_an_expired_job_is_not_claimed(engine: Engine) -> None:
    engine.add(id="late", expires_at_ms=NOW + 10)
    engine.add(id="in time", expires_in_ms=11)
    with engine.ledger.transaction():
        claims = engine.ledger.claim("i", [1, 2], 77, now_ms=NOW + 10)
    assert [claim.id for claim in claims] == ["in time"]


def test_claims_beside_an_expired_job_have_consecutive_tokens_and_workers(engine: Engine) -> None:
    """The next claim of the turn goes on with the token and the worker after the last of these."""
    for name, expires_ms in (("a", None), ("late", NOW), ("b", None)):
        engine.add(id=name, expires_at_ms=expires_ms)
    with engine.ledger.transaction():
        claims = engine.ledger.claim("i", [1, 2, 3], 77, now_ms=NOW)
    found = [(claim.id, claim.key.token, claim.worker) for claim in claims]
    assert found == [("a", 77, 1), ("b", 78, 2)]


def test_an_expired_job_becomes_dead(engine: Engine) -> None:
    engine.add(id="ready", expires_at_ms=NOW + 20)
    engine.add(id="scheduled", run_at_ms=NOW + 99, expires_at_ms=NOW + 10)
    failed = engine.add(id="failed", expires_at_ms=NOW + 30, priority=1)
    engine.end(engine.must_claim(), FAILED)
    engine.add(id="later", expires_at_ms=NOW + 31)
    engine.add(id="never")
    assert expire(engine, now_ms=NOW + 9) == []
    assert expire(engine, now_ms=NOW + 30, limit=2) == ["scheduled", "ready"]
    assert expire(engine, now_ms=NOW + 30, limit=2) == ["failed"]
    assert expire(engine, now_ms=NOW + 30) == []
    assert {job.id for job in engine.jobs() if job.state is State.DEAD} == {
        "ready",
        "scheduled",
        "failed",
    }
    job = engine.store.show(failed)
    assert (job.last_error, job.attempts, job.runs) == ("expired: late", 1, 2)
    run = engine.store.attempts(failed)[-1]
    assert (run.number, run.worker, run.outcome) == (2, 0, Outcome.EXPIRED)
    engine.check_counters(now_ms=NOW + 30)


def test_two_dispatchers_end_a_job_once(engine: Engine) -> None:
    engine.add(expires_at_ms=NOW)
    other = engine.another_ledger()
    assert len(expire(engine, now_ms=NOW)) == 1
    with other.transaction():
        assert other.expire("j", 900, now_ms=NOW, limit=10) == []


def test_a_retry_drops_an_expiry_that_has_passed(engine: Engine) -> None:
    options = '{"deadline": "2023-11-14T22:13:20.000Z", "split": true}'
    row = engine.add(expires_at_ms=NOW, options=options)
    expire(engine, now_ms=NOW)
    later = engine.add(id="later", expires_at_ms=NOW + 99)
    engine.store.cancel(later, now_ms=NOW)
    engine.store.retry([row, later], now_ms=NOW + 1)
    job = engine.store.show(row)
    assert (job.expires_ms, job.options.deadline, job.options.split) == (None, None, True)
    assert engine.store.show(later).expires_ms == NOW + 99
    assert engine.must_claim(now_ms=NOW + 1).key.job == row


@pytest.mark.parametrize("now_ms", [NOW - 1, NOW])
def test_a_run_that_fails_after_the_deadline_is_not_retried(engine: Engine, now_ms: int) -> None:
    engine.add(options='{"deadline": "2023-11-14T22:13:20.000Z"}')
    claim = engine.must_claim()
    verdict = judge(claim, Ending(Outcome.TIMEOUT), BACKOFF, now_ms=now_ms)
    assert verdict.state is (State.PENDING if now_ms < NOW else State.DEAD)
