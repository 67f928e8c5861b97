"""The checker accepts a right history and finds a wrong one for each rule."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from queued.core.job_options import JobOptions
from queued.core.model import Label, Outcome, State
from queued.core.times import iso
from queued.store.sqlite.client_store import SqliteStore
from tests.torture import checker, signal_rules, user_rules
from tests.torture.example_history import (
    LIMITS,
    OK,
    Change,
    a_run,
    failed_run,
    right_history,
    set_job,
    set_runs,
    trace,
)
from tests.torture.history import TraceLine, Wait, read
from tests.torture.wrong_histories import HOOKED, PARENT, WRONG, scheduled


def test_a_right_history_breaks_no_rule() -> None:
    assert checker.check(right_history()) == []


@pytest.mark.parametrize(("rule", "spoil"), WRONG)
def test_a_wrong_history_breaks_its_rule(rule: str, spoil: Change) -> None:
    history = right_history()
    spoil(history)
    assert rule in {line.split(":")[0] for line in checker.check(history)}


def test_each_rule_has_a_wrong_history() -> None:
    assert {rule.__name__.strip("_") for rule in checker.RULES} == {rule for rule, _ in WRONG}
    rules = [
        name
        for module in (checker, signal_rules, user_rules)
        for name, _ in inspect.getmembers(module, inspect.isgeneratorfunction)
    ]
    parts = {"_too_often", "_spans_of_claims", "_unreplaced", "_unlike"}
    assert {*rules} - parts == {r.__name__ for r in checker.RULES}


@pytest.mark.parametrize("name", ["good", "edited"])
def test_a_lost_job_is_reported_whatever_was_done_to_it(name: str) -> None:
    history = right_history()
    history.acknowledged.add(name)
    del history.jobs[name]
    assert f"lost: {name}" in checker.check(history)


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "replace"])
def test_schedules_that_have_fired_for_each_time_break_no_rule(overlap: str) -> None:
    history = right_history()
    scheduled(overlap)(history)
    assert checker.check(history) == []


def test_a_time_may_be_skipped_or_missed_by_its_policies() -> None:
    for overlap, changes in (("skip", {"skipped": 1}), ("allow", {"catch_up": "last"})):
        history = right_history()
        scheduled(overlap, fired=1, **changes)(history)
        assert checker.check(history) == []


def test_a_retry_by_a_user_gives_the_full_budget_again() -> None:
    history = right_history()
    set_runs("bad", *(failed_run(n) for n in (1, 2, 3, 4)))(history)
    assert any(line.startswith("miscounted: bad") for line in checker.check(history))
    history.retried["bad"] = [2]
    history.traces["bad"] += [*trace(3, 30, 40), *trace(4, 40, 50)]
    assert checker.check(history) == []


def test_each_end_of_a_job_with_a_hook_has_one_hook_job() -> None:
    history = right_history()
    set_job("bad", options=HOOKED)(history)
    set_job("gone", options=JobOptions(env=PARENT))(history)
    history.asked.remove("gone")
    assert checker.check(history) == []
    history.died["bad"] = 1
    assert [line.split(":")[0] for line in checker.check(history)] == ["unhooked"]


def test_a_rate_allows_a_start_that_may_have_been_claimed_after_the_interval() -> None:
    history = right_history()
    history.rates = {"default": (3, 20_000), "other": (1, 86_400_000)}
    assert checker.check(history) == []
    set_runs("bad", failed_run(1), failed_run(2, outcome=Outcome.EXPIRED))(history)
    history.rates = {"default": (3, 86_400_000)}
    assert "rushed" not in {line.split(":")[0] for line in checker.check(history)}


def test_a_deferred_run_is_not_counted_and_waits() -> None:
    history = right_history()
    set_runs("good", a_run(1, exit_code=75), a_run(2))(history)
    history.traces["good"] += trace(2, 20, 30)
    history.output["good", 2] = b"hello\n"
    history.announced.clear()
    history.seen.clear()
    options = JobOptions(defer_delay=2, defer_on=(75,))
    set_job("good", options=options)(history)
    assert checker.check(history) == []
    history.attempts["good"][1] = a_run(2, started_ms=12_000)
    assert [line.split(":")[0] for line in checker.check(history)] == ["early"]


def test_a_record_stands_for_deferred_runs_in_a_row() -> None:
    history = right_history()
    deferred = a_run(2, exit_code=75, deferrals=2)
    set_runs("good", deferred, a_run(3))(history)
    history.traces["good"] += [*trace(2, 20, 30), *trace(3, 40, 50)]
    history.output["good", 3] = b"hello\n"
    history.announced = [replace(OK, attempt=n, exit_code=75) for n in (1, 2)]
    history.seen.clear()
    set_job("good", runs=3, options=JobOptions(defer_on=(75,)))(history)
    assert checker.check(history) == []
    history.attempts["good"][0] = deferred._replace(deferrals=1)
    broken = {line.split(":")[0] for line in checker.check(history)}
    assert broken == {"miscounted", "changed", "untold"}


def test_a_history_is_read_from_the_files(tmp_path: Path) -> None:
    path = str(tmp_path / "queue.db")
    SqliteStore(path).close()
    (tmp_path / "x.trace").write_text("start 1 77 1234.56 0\nend 1 77 1240.00 2\n")
    history = read(path, tmp_path)
    assert history.traces == {
        "x": [
            TraceLine(word="start", attempt=1, pid=77, at_cs=123_456),
            TraceLine(word="end", attempt=1, pid=77, at_cs=124_000, edit=2),
        ]
    }
    assert (history.jobs, history.counts, history.damage) == ({}, {}, [])


def test_a_deadline_may_end_a_run_before_its_timeout() -> None:
    history = right_history()
    stopped = a_run(outcome=Outcome.TIMEOUT, exit_code=None, ran_ms=300)
    options = LIMITS._replace(deadline=iso(10_300), warn_signal=None)
    dead: dict[str, Any] = {"state": State.DEAD, "label": Label.DEAD, "attempts": 1}
    set_job("warned", options=options, updated_ms=10_400, **dead)(history)
    set_runs("warned", stopped)(history)
    beat = TraceLine(word="beat", attempt=1, pid=101, at_cs=110)
    history.traces["warned"] = [*trace(1, 100, 130), beat]
    history.counts |= {"completed": 3, "dead": 2}
    history.signalled.clear()
    history.reruns[0] = replace(history.reruns[0], of=history.jobs["warned"])
    set_job("again", options=options._replace(deadline=None, rerun_of="warned"))(history)
    assert checker.check(history) == []
    set_runs("warned", stopped._replace(ran_ms=200))(history)
    assert [line.split(":")[0] for line in checker.check(history)] == ["timed_out"]


def test_a_rerun_that_was_killed_may_have_added_a_job() -> None:
    history = right_history()
    history.reruns[0] = replace(history.reruns[0], new=None)
    assert checker.check(history) == []
    del history.jobs["again"], history.attempts["again"], history.traces["again"]
    history.acknowledged.remove("again")
    history.counts["completed"] -= 1
    assert checker.check(history) == []


def test_a_rerun_of_an_edited_job_may_differ_in_what_was_edited() -> None:
    history = right_history()
    set_job("again", priority=5)(history)
    assert [line.split(":")[0] for line in checker.check(history)] == ["misrepeated"]
    history.hurried.add("again")
    assert checker.check(history) == []


def test_a_queue_may_wait_while_its_other_jobs_start() -> None:
    history = right_history()
    set_runs("bad", *(failed_run(n) for n in range(1, 80)))(history)
    history.passed.append(Wait("again", "a", 5_000, 900_000))
    assert "starved" not in {line.split(":")[0] for line in checker.check(history)}
