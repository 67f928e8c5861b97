"""The filters: which jobs each finds, and that a change of many keeps to them."""

from typing import Any

import pytest

from queued.core.model import Label, NewJob, Outcome, State
from queued.core.records import JobFilter
from queued.core.runs import Ending
from queued.core.settlement import Verdict
from tests.store.engine import FAILED, NOW, Engine, retry_all

DAY_MS = 86_400_000
TIMEOUT = Ending(Outcome.TIMEOUT, signal="SIGTERM")


def _dead(engine: Engine, ending: Ending, *, now_ms: int = NOW, **fields: Any) -> None:
    engine.add(**fields)
    verdict = Verdict(State.DEAD, 1, now_ms, "it failed")
    engine.settle(engine.must_claim(now_ms=now_ms), verdict, ending, now_ms=now_ms)


@pytest.fixture
def jobs(engine: Engine) -> list[str]:
    """The ids of eight jobs."""
    _dead(engine, FAILED, id="failed", command="make [all]", queue="a", priority=3)
    _dead(engine, TIMEOUT, id="late", command="make\n100%_\\é", queue="a", now_ms=NOW + DAY_MS)
    _dead(engine, FAILED, id="retried", command="Make x", queue="b")
    retry_all(engine.store, queue="b")
    engine.end(engine.must_claim())
    engine.put(State.COMPLETED, id="done", command="sleep 1", queue="b", priority=-3)
    engine.put(State.CANCELLED, id="stopped", command="sleep 10", queue="b")
    engine.put(State.PROCESSING, id="running", command="make", queue="a")
    labels = '{"team": "ops", "a.b-c": "1"}'
    engine.add(id="waiting", command="make ?", queue="b", priority=3, labels=labels)
    engine.add(id="later", command="make *", queue="a", delay_ms=DAY_MS)
    return [job.id for job in engine.jobs()]


FILTERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "any text": ({"command": "make*"}, {"failed", "late", "running", "waiting", "later"}),
    "one character": ({"command": "sleep ?"}, {"done"}),
    "no set of characters": ({"command": "make [all]"}, {"failed"}),
    "no other wildcard": ({"command": "make?100%_\\?"}, {"late"}),
    "no other case": ({"command": "M*"}, {"retried"}),
    "an exact command": ({"command": "make"}, {"running"}),
    "priority": ({"priority": 3}, {"failed", "waiting"}),
    "below zero": ({"priority": -3}, {"done"}),
    "label": ({"job_label": ("team", "ops")}, {"waiting"}),
    "a label with a dot": ({"job_label": ("a.b-c", "1")}, {"waiting"}),
    "another value": ({"job_label": ("team", "op")}, set()),
    "outcome": ({"outcomes": (Outcome.TIMEOUT,)}, {"late"}),
    "outcomes": (
        {"outcomes": (Outcome.TIMEOUT, Outcome.EXIT)},
        {"failed", "late", "retried", "done"},
    ),
    "exit code of the last run": ({"exit_code": 1}, {"failed"}),
    "exit code 0": ({"exit_code": 0}, {"retried", "done"}),
    "since": ({"since_ms": NOW + 1}, {"late"}),
    "before": ({"before_ms": NOW}, set()),
    "states": ({"labels": (Label.DEAD, Label.COMPLETED)}, {"failed", "late", "retried", "done"}),
    "a part of pending": ({"labels": (Label.SCHEDULED, Label.CANCELLED)}, {"stopped", "later"}),
    "not due": ({"labels": (Label.SCHEDULED,), "now_ms": NOW + DAY_MS}, set()),
    "queue and state": ({"labels": (Label.PENDING,), "queue": "b"}, {"waiting"}),
    "several queues": ({"queues": ("a", "c")}, {"failed", "late", "running", "later"}),
    "other queues": ({"not_queues": ("a", "c")}, {"retried", "done", "stopped", "waiting"}),
    "all of it": (
        {"labels": (Label.DEAD,), "queue": "a", "command": "m*", "priority": 3, "exit_code": 1}
        | {"outcomes": (Outcome.EXIT,), "since_ms": NOW, "before_ms": NOW + 1},
        {"failed"},
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds_what_has_all_of_it(engine: Engine, jobs: list[str], name: str) -> None:
    fields, names = FILTERS[name]
    wanted = JobFilter(**fields)
    expected = [job for job in jobs if job in names]
    assert [job.id for job in engine.store.list(wanted)] == expected
    assert [job.id for job in engine.store.list(wanted, reverse=True)] == expected[::-1]
    assert [engine.store.show(job).id for job in engine.store.select(wanted)] == expected
    after = engine.store.find("retried")
    beyond = [job for job in expected if jobs.index(job) > jobs.index("retried")]
    assert [job.id for job in engine.store.list(wanted, after=after)] == beyond


def test_a_change_leaves_out_what_matches_no_longer(engine: Engine) -> None:
    pending = JobFilter((Label.PENDING,))
    first, second, third = (engine.add(max_retries=3) for _ in range(3))
    chosen = engine.store.select(pending)
    engine.must_claim()
    engine.store.cancel(second, now_ms=NOW)
    names = {job: engine.store.show(job).id for job in (first, second, third)}
    moved = engine.store.cancel_all(chosen, pending, now_ms=NOW)
    assert moved == [(names[third], State.CANCELLED)]
    cancelled = JobFilter((Label.CANCELLED,), queue="other")
    assert engine.store.retry_all([second, third], cancelled, now_ms=NOW) == []
    assert engine.store.purge([second, third], cancelled) == (0, True)
    open_jobs = JobFilter((Label.PENDING, Label.PROCESSING))
    assert engine.store.cancel_all([first], open_jobs, now_ms=NOW) == [
        (names[first], State.PROCESSING)
    ]
    assert engine.store.show(first).cancel_requested_ms == NOW
    engine.check_counters()


def test_states_are_merged_over_their_pages(engine: Engine) -> None:
    names = engine.store.enqueue([NewJob("true")] * 1203, max_retries=3, now_ms=NOW)
    cancelled = JobFilter((Label.CANCELLED,))
    rows = engine.store.select(JobFilter())
    engine.store.cancel_all(rows[::2], JobFilter(), now_ms=NOW)
    assert len(engine.store.select(cancelled)) == 602
    both = JobFilter((Label.CANCELLED, Label.PENDING))
    assert [job.id for job in engine.store.list(both)] == names
    assert [job.id for job in engine.store.list(both, limit=3, reverse=True)] == names[:-4:-1]


def test_the_user_that_submitted_jobs_finds_them(engine: Engine) -> None:
    job = engine.store.show(engine.add())
    for by, found in ((job.submitted_by, [job]), (f"{job.submitted_by}x", [])):
        assert list(engine.store.list(JobFilter(by=by))) == found
        assert list(engine.store.list(JobFilter((Label.PENDING,), by=by))) == found


def test_a_job_that_cannot_start_is_found_by_its_outcome(engine: Engine) -> None:
    stopped, _ = engine.put(State.CANCELLED, id="stopped")
    engine.add(id="barred", after=("stopped",))
    barred = JobFilter(outcomes=("dependency", "oom"))
    assert [job.id for job in engine.store.list(barred)] == ["barred"]
    (found,) = engine.store.list(barred._replace(labels=(Label.CANCELLED,)))
    assert found.id == "barred"
    engine.store.retry([stopped], now_ms=NOW)
    engine.promote(now_ms=NOW)
    assert list(engine.store.list(barred)) == []
