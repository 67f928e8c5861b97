"""Changes of jobs that wait, and requests for signals."""

from typing import Any

import pytest

from queued.core.errors import ConflictError, UsageError
from queued.core.job_changes import job_changes
from queued.core.model import Label, State
from queued.core.records import Share
from queued.core.runs import Claim, SignalRequest
from tests.store.engine import FAILED, NOW, Engine, plain_shares


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


@pytest.mark.parametrize("state", [*State])
def test_note_and_labels_of_a_job_change_in_any_state(engine: Engine, state: State) -> None:
    row = engine.put(state, options='{"note": "old", "nice": 1}', labels='{"a": "1", "b": "2"}').row
    before = engine.store.show(row)
    changes = job_changes({"note": "new", "labels": {"c": "3"}}, labels=["a"])
    assert engine.store.edits.edit([row], changes, now_ms=NOW + 9) == [before.id]
    job = engine.store.show(row)
    assert (job.options.note, job.options.nice, job.labels) == ("new", 1, {"b": "2", "c": "3"})
    changed_ms = NOW + 9 if state is State.PENDING else before.updated_ms
    same = before._replace(options=job.options, labels=job.labels, updated_ms=changed_ms)
    assert job == same, "filters by time and retention see no change of a job that has ended"
    assert edit(engine, row, note="", nice=2) is (state is State.PENDING)
    engine.check_counters()


def test_variables_and_labels_are_removed_and_limits_merged(engine: Engine) -> None:
    options = '{"env": {"A": "1", "B": "2"}, "limits": {"cpu": 1, "files": 9}}'
    row = engine.add(options=options, labels='{"a": "1"}')
    changes = job_changes({"limits": {"files": 8}}, labels=["a", "none"], variables=["A"])
    assert engine.store.edits.edit([row], changes, now_ms=NOW)
    job = engine.store.show(row)
    assert job.options.given() == {"env": {"B": "2"}, "limits": {"cpu": 1, "files": 8}}
    assert job.labels is None


def test_lane_slots_and_expiry_of_a_job_change(engine: Engine) -> None:
    row = engine.add(queue="q", requires="gpu")
    due = NOW / 1000
    assert edit(engine, row, requires=["zone", "a"], slots=2, expires_in=60, run_at=due)
    job = engine.store.show(row)
    assert (job.queue, job.requires) == ("q", frozenset({"a", "zone"}))
    assert (job.slots, job.expires_ms) == (2, NOW + 60_000)
    assert edit(engine, row, queue="r", requires=[], deadline=due + 50)
    job = engine.store.show(row)
    assert (job.queue, job.requires, job.expires_ms) == ("r", frozenset(), NOW + 50_000)
    with pytest.raises(UsageError, match="has the deadline"):
        edit(engine, row, expires_in=60)
    with pytest.raises(UsageError, match="would expire"):
        edit(engine, row, delay=60)
    assert engine.store.show(row) == job


def test_a_job_does_not_move_to_a_queue_that_takes_none(engine: Engine) -> None:
    row = engine.add()
    engine.store.queues.change("closed", draining_ms=NOW)
    with pytest.raises(ConflictError, match="takes no new jobs"):
        edit(engine, row, queue="closed", priority=3)
    assert (engine.store.show(row).queue, engine.store.show(row).priority) == ("default", 0)


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
        assert engine.ledger.take_signals("j", [1]) == []
        assert engine.ledger.take_signals("i", [2]) == [], "its worker is not connected yet"
        taken = engine.ledger.take_signals("i", [1, 2])
        assert engine.ledger.take_signals("i", [1]) == []
    assert taken == [SignalRequest(claim.key, "USR1"), SignalRequest(claim.key, "HUP")]
    assert engine.store.edits.signal([row], "USR1")
    engine.end(claim)
    with engine.ledger.transaction():
        assert engine.ledger.take_signals("i", [1]) == [], "the run is over"


def test_the_limit_of_a_key_is_changed_for_the_jobs_that_wait(engine: Engine) -> None:
    rows = [engine.add(key="k", key_limit=1) for _ in range(6)]

    def start(token: int) -> list[Claim]:
        engine.promote(now_ms=NOW)
        shares = plain_shares(engine.ledger)
        with engine.ledger.transaction():
            return engine.ledger.claim("i", [*range(9)], token, now_ms=NOW, shares=shares)

    (first,) = start(100)
    assert not edit(engine, rows[0], key_limit=3), "it runs"
    for row in rows[1:]:
        assert edit(engine, row, key_limit=3)
    second, third = start(200)
    assert start(300) == []
    for row in rows[3:]:
        assert edit(engine, row, key_limit=2)
    engine.end(first)
    assert start(400) == []
    engine.end(second)
    assert [claim.key.job for claim in start(500)] == [rows[3]]
    assert engine.store.show(rows[5]).key_limit == 2
    assert third.key.job == rows[2]
    engine.check_counters()


def test_only_a_job_with_a_key_has_a_limit_of_it(engine: Engine) -> None:
    with_key, row = engine.add(key="k"), engine.add()
    changes = job_changes({"key_limit": 3, "priority": 7})
    with pytest.raises(UsageError, match="a job without a key"):
        engine.store.edits.edit([with_key, row], changes, now_ms=NOW)
    assert [(job.key_limit, job.priority) for job in engine.jobs()] == [(1, 0), (1, 0)]
