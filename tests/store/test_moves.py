"""Every operation on every state does what `moves.MOVES` says, and nothing else."""

from contextlib import suppress

import pytest

from queued.core.errors import ConflictError
from queued.core.model import State
from queued.core.moves import MOVES, Operation
from queued.core.runs import Claim, Key
from queued.core.settlement import Verdict
from tests.claims import make_claim
from tests.store.engine import FAILED, NOW, Engine

LATER = NOW + 60_000
PAIRS = [(state, operation) for state in State for operation in Operation]


def _apply(engine: Engine, operation: Operation, job: int, claim: Claim | None, to: State) -> bool:
    """Does it; whether the database says that it was done."""
    if operation is Operation.SETTLE:
        claim = claim or make_claim(key=Key(job, engine.store.show(job).runs, 77))
        return engine.settle(claim, Verdict(to, 0, LATER + 1, None), now_ms=LATER) is not None
    return _request(engine, operation, job)


def _request(engine: Engine, operation: Operation, job: int) -> bool:
    done = False
    match operation:
        case Operation.CLAIM:
            taken = engine.claim(now_ms=LATER)
            done = taken is not None and taken.key.job == job
        case Operation.CANCEL:
            done = engine.store.cancel(job, now_ms=LATER) is not None
        case Operation.RETRY:
            with suppress(ConflictError):
                done = bool(engine.store.retry([job], now_ms=LATER))
        case Operation.HOLD:
            done = bool(engine.store.edits.hold([job], now_ms=LATER))
        case Operation.RELEASE:
            engine.store.edits.hold([job], now_ms=NOW)
            done = bool(engine.store.edits.release([job], now_ms=LATER))
        case Operation.RUN_NOW:
            done = bool(engine.store.edits.run_now([job], now_ms=LATER))
    return done


@pytest.mark.parametrize("to", [State.PENDING, State.COMPLETED, State.DEAD, State.CANCELLED])
@pytest.mark.parametrize(("state", "operation"), PAIRS)
def test_the_oracle(engine: Engine, state: State, operation: Operation, to: State) -> None:
    job, claim = engine.put(state)
    before = engine.store.show(job)
    done = _apply(engine, operation, job, claim, to)
    after = engine.store.show(job)
    legal = MOVES.get((state, operation))
    assert done is (legal is not None)
    if legal is None:
        assert after == before
    else:
        assert after.state in legal
        assert after.state is (to if operation is Operation.SETTLE else after.state)
        assert after.updated_ms == LATER
    engine.check_counters()


@pytest.mark.parametrize(
    ("verdict", "end"),
    [
        (State.PENDING, State.CANCELLED),
        (State.DEAD, State.CANCELLED),
        (State.CANCELLED, State.CANCELLED),
        (State.COMPLETED, State.COMPLETED),
    ],
)
def test_a_cancel_that_came_before_the_end_wins_over_a_retry(
    engine: Engine, verdict: State, end: State
) -> None:
    job, claim = engine.running()
    assert engine.store.cancel(job, now_ms=NOW) is State.PROCESSING
    with engine.ledger.transaction():
        assert engine.ledger.cancel_requests("i") == [claim.key]
        assert engine.ledger.cancel_requests("j") == []
    assert engine.settle(claim, Verdict(verdict, 0, NOW, None)) is end
    after = engine.store.show(job)
    assert after.state is end
    assert after.cancel_requested_ms is None
    assert engine.claim() is None
    with engine.ledger.transaction():
        assert engine.ledger.cancel_requests("i") == []


def test_a_cancel_is_asked_once_and_remembers_when(engine: Engine) -> None:
    job = engine.put(State.PROCESSING).row
    engine.store.cancel(job, now_ms=NOW + 1)
    engine.store.cancel(job, now_ms=NOW + 2)
    assert engine.store.show(job).cancel_requested_ms == NOW + 1


def test_a_job_that_waits_for_its_retry_is_cancelled_at_once(engine: Engine) -> None:
    job = engine.add()
    assert engine.end(engine.must_claim(), FAILED) is State.PENDING
    assert engine.store.cancel(job, now_ms=NOW) is State.CANCELLED
