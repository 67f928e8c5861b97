"""Changes of jobs that wait, and requests for signals."""

from typing import Any

import pytest

from queued.core.errors import UsageError
from queued.core.job_spec import job_changes
from queued.core.model import Label, State
from queued.core.records import Share
from queued.core.runs import SignalRequest
from tests.store.engine import FAILED, NOW, Engine


def edit(engine: Engine, row: int, *, now_ms: int = NOW, **fields: Any) -> bool:
    return bool(engine.store.edits.edit([row], job_changes(fields), now_ms=now_ms))


def test_only_the_given_fields_change(engine: Engine) -> None:
    options = '{"env": {"A": "1", "B": "2"}, "split": true, "timeout": 5.0}'
    row = engine.add("old", options=options, labels='{"a": "1"}', requires="gpu", run_at_ms=NOW * 2)
    before = engine.store.show(row)
    assert edit(engine, row, env={"B": "3", "C": "4"}, timeout=9, labels={"b": "2"})
    job = engine.store.show(row)
    assert job.options.env == {"A": "1", "B": "3", "C": "4"}
    assert (job.options.timeout, job.options.split) == (9.0, True)
    assert job.labels == {"a": "1", "b": "2"}
    assert job._replace(options=before.options, labels=before.labels) == before
    assert edit(engine, row, command="new", queue="q", priority=7, max_retries=9)
    changed = engine.store.show(row)
    assert (changed.command, changed.queue, changed.priority) == ("new", "q", 7)
    assert (changed.max_retries, changed.requires) == (9, frozenset({"gpu"}))
    engine.check_counters()


def test_an_empty_option_is_removed(engine: Engine) -> None:
    row = engine.add(options='{"env": {"A": "1"}, "note": "x", "timeout": 5.0}')
    assert edit(engine, row, timeout="", note="", nice=3)
    assert engine.store.show(row).options.given() == {"env": {"A": "1"}, "nice": 3}
    with pytest.raises(UsageError, match="priority takes a whole number"):
        edit(engine, row, priority="")


def test_a_job_of_another_queue_and_time_is_claimed_from_there(engine: Engine) -> None:
    row = engine.add(queue="a", run_at_ms=NOW + 99)
    assert edit(engine, row, queue="b", run_at=NOW / 1000)
    with engine.ledger.transaction():
        lanes = {lane.queue: lane.number for lane in engine.ledger.lanes(after=-1)}
        claims = engine.ledger.claim("i", [1], 7, now_ms=NOW, shares=[Share("a", [lanes["a"]])])
        assert claims == []
        (claim,) = engine.ledger.claim("i", [1], 7, now_ms=NOW, shares=[Share("b", [lanes["b"]])])
    assert (claim.key.job, claim.queue) == (row, "b")


def test_a_job_that_waits_for_a_retry_can_be_put_off(engine: Engine) -> None:
    row, claim = engine.running()
    assert not edit(engine, row, priority=1)
    engine.end(claim, FAILED)
    assert edit(engine, row, delay=60)
    job = engine.store.show(row)
    assert (job.label, job.next_run_at_ms) == (Label.FAILED, NOW + 60_000)
    for state in (State.COMPLETED, State.DEAD, State.CANCELLED):
        assert not edit(engine, engine.put(state, priority=5).row, priority=1)


def test_changes_that_do_not_fit_change_nothing(engine: Engine) -> None:
    row = engine.add(options='{"env": {"A": "%s"}}' % ("x" * 40_000))
    with pytest.raises(UsageError, match="nothing was changed"):
        edit(engine, row, env={"B": "x" * 40_000}, priority=3)
    assert engine.store.show(row).priority == 0


def test_a_signal_is_requested_for_a_running_job_and_read_once(engine: Engine) -> None:
    assert not engine.store.edits.signal([engine.add(run_at_ms=NOW * 2)], "USR1")
    row, claim = engine.running()
    assert engine.store.edits.signal([row], "USR1")
    assert engine.store.edits.signal([row], "HUP")
    with engine.ledger.transaction():
        assert engine.ledger.take_signals("j") == []
        taken = engine.ledger.take_signals("i")
        assert engine.ledger.take_signals("i") == []
    assert taken == [SignalRequest(claim.key, "USR1"), SignalRequest(claim.key, "HUP")]
    assert engine.store.edits.signal([row], "USR1")
    engine.end(claim)
    with engine.ledger.transaction():
        assert engine.ledger.take_signals("i") == [], "the run is over"
