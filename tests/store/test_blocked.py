"""Jobs that wait for more than their time: held by a user."""

from queued.core.model import Label, State
from tests.store.engine import FAILED, NOW, Engine

LATER = NOW + 60_000


def test_a_held_job_is_never_due_until_it_is_released(engine: Engine) -> None:
    held, waiting = engine.add(hold=True), engine.add()
    assert engine.store.edits.hold([waiting], now_ms=NOW)
    assert engine.store.edits.hold([waiting], now_ms=NOW), "also if it is held already"
    assert {engine.store.show(job).label for job in (held, waiting)} == {Label.HELD}
    assert engine.promote(now_ms=LATER) is None
    assert engine.claim(now_ms=LATER) is None
    status = engine.store.status(now_ms=LATER)
    assert (status.counts[Label.HELD], status.oldest_due_ms) == (2, None)
    assert engine.store.edits.release([held], now_ms=LATER)
    assert not engine.store.edits.release([held], now_ms=LATER)
    assert engine.store.status(now_ms=LATER).oldest_due_ms == LATER, "it waits from now on"
    assert engine.must_claim(now_ms=LATER).key.job == held
    engine.check_counters(now_ms=LATER)


def test_a_released_job_still_waits_for_its_time(engine: Engine) -> None:
    scheduled, failed = engine.add(delay_ms=5000), engine.add()
    engine.end(engine.must_claim(), FAILED)
    for job in (scheduled, failed):
        engine.store.edits.hold([job], now_ms=NOW)
        assert engine.store.edits.release([job], now_ms=NOW)
    labels = [engine.store.show(job).label for job in (scheduled, failed)]
    assert labels == [Label.SCHEDULED, Label.FAILED]
    assert engine.promote(now_ms=NOW) == NOW + 2000


def test_a_job_runs_before_its_time_if_a_user_wants_it(engine: Engine) -> None:
    scheduled, failed, held = engine.add(delay_ms=5000), engine.add(), engine.add(hold=True)
    engine.end(engine.must_claim(), FAILED)
    assert engine.claim() is None
    assert engine.store.edits.run_now([scheduled], now_ms=NOW)
    assert engine.store.edits.run_now([failed], now_ms=NOW)
    assert not engine.store.edits.run_now([held], now_ms=NOW)
    assert {engine.must_claim(token=token).key.job for token in (1, 2)} == {scheduled, failed}


def test_a_cancelled_job_that_was_held_runs_when_it_is_retried(engine: Engine) -> None:
    job = engine.add(hold=True)
    assert engine.store.cancel(job, now_ms=NOW) is State.CANCELLED
    assert not engine.store.edits.release([job], now_ms=NOW)
    engine.store.retry([job], now_ms=NOW)
    assert engine.must_claim().key.job == job
