"""The checker accepts a right history and finds a wrong one for each rule."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from queued.core.job_options import JobOptions
from queued.core.model import Label, Outcome, State
from queued.core.records import Attempt, Job
from queued.core.schedules import Schedule
from queued.store.sqlite.client_store import SqliteStore
from tests.torture import checker, user_rules
from tests.torture.history import (
    History,
    RecordedResult,
    ServiceEnd,
    Suspension,
    TraceLine,
    read,
)


def _job(name: str, state: State, **changes: Any) -> Job:
    options = JobOptions(backoff_base=2, backoff_max=4, timeout=1)
    job = Job(
        *(1, name, "default", 0, "true", options, state, Label(state)),
        *(0, 0, 3, 1, None, None, 0, 0),
    )
    return job._replace(**changes)


def _run(number: int = 1, **changes: Any) -> Attempt:
    at = number * 10_000
    run = Attempt(
        number, "i", 1, at, at + 1000, Outcome.EXIT, 0, None, None, 1000, 1, 1, 0, 0
    )  # fmt: skip
    return run._replace(**changes)


def _failed(number: int, **changes: Any) -> Attempt:
    return _run(number, exit_code=1)._replace(**changes)


def _marks(attempt: int, start_cs: int, end_cs: int) -> list[TraceLine]:
    pid = 100 + attempt
    return [
        TraceLine(word="start", attempt=attempt, pid=pid, at_cs=start_cs),
        TraceLine(word="end", attempt=attempt, pid=pid, at_cs=end_cs),
    ]


SUSPENDED = Suspension(queue="default", runs=frozenset({("bad", 2)}), frozen_cs=20, resumed_cs=28)
OK = RecordedResult(job="good", attempt=1, outcome="exit", exit_code=0, signal=None)


def _history() -> History:
    """One job that succeeded, one that died of its second failure, one that was cancelled.

    One more succeeded after an edit, and one of an array was cancelled. The second run of the one
    that died was suspended.
    """
    return History(
        jobs={
            "good": _job("good", State.COMPLETED),
            "edited": _job("edited", State.COMPLETED, labels={"edit": "1"}),
            "bad": _job("bad", State.DEAD, attempts=2, max_retries=2, runs=2),
            "t_1": _job("t_1", State.CANCELLED, runs=0, array_id="t"),
            "gone": _job("gone", State.CANCELLED, runs=0),
        },
        attempts={
            "good": [_run()],
            "edited": [_run()],
            "bad": [_failed(1), _failed(2)],
            "gone": [],
            "t_1": [],
        },
        counts={"completed": 2, "dead": 1, "cancelled": 2},
        traces={
            "good": _marks(1, 10, 20),
            "edited": [replace(mark, edit=1) for mark in _marks(1, 60, 70)],
            "bad": [*_marks(1, 10, 20), *_marks(2, 20, 30)],
        },
        output={("good", 1): b"hello\n"},
        acknowledged={"good", "bad"},
        asked={"good", "edited", "bad", "gone", "t_1", "never arrived"},
        announced=[OK],
        seen=[OK, OK],
        cancelled={"gone"},
        prints={"good": b"hello\n"},
        edits={"edited": [0]},
        suspensions=[SUSPENDED],
        moves=[(_job("a", State.PENDING), _job("b", State.PENDING, seq=2))],
        arrays={"t": {"t_1"}},
        waits={"edited": [("after", "good"), ("after_any", "gone")]},
        ends=[ServiceEnd(service="log.0", exit_code=0, allowed=frozenset({0, 74}))],
    )


def test_a_right_history_breaks_no_rule() -> None:
    assert checker.check(_history()) == []


def _set_job(name: str, **changes: Any) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.jobs[name] = history.jobs[name]._replace(**changes)

    return change


def _set(field: str, value: object) -> Callable[[History], None]:
    return lambda history: setattr(history, field, value)


def _set_runs(name: str, *runs: Attempt) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.attempts[name] = list(runs)
        history.jobs[name] = history.jobs[name]._replace(runs=len(runs))

    return change


def _set_trace(name: str, *marks: TraceLine) -> Callable[[History], None]:
    return lambda history: history.traces.update({name: list(marks)})


OTHER = RecordedResult(job="good", attempt=1, outcome="lost", exit_code=None, signal=None)
OVERLAP = TraceLine(word="overlap", attempt=2, pid=1, at_cs=25)
KILLED = frozenset({-9})

HOOKED = JobOptions(backoff_base=2, backoff_max=4, on_dead="true")
PARENT = {"QUEUED_PARENT_ID": "bad", "QUEUED_PARENT_STATE": "dead"}

MINUTE_MS = 60_000
EVERY_MINUTE = Schedule("s", "* * * * *", "UTC", "{}", "all", next_ms=3 * MINUTE_MS)
EXCEEDED = TraceLine(word="exceeded:one", attempt=1, pid=1, at_cs=12)


def _scheduled(overlap: str, fired: int = 2, **changes: Any) -> Callable[[History], None]:
    """Adds a schedule with two times that were due, of which some jobs have fired."""

    def change(history: History) -> None:
        at_ms = [MINUTE_MS, 2 * MINUTE_MS][:fired]
        for n, at in enumerate(at_ms):
            job = _job(f"s{n}", State.COMPLETED, seq=n, schedule="s", scheduled_ms=at)
            history.jobs[job.id] = job._replace(created_ms=at)
            history.attempts[job.id] = [_run(1, started_ms=at, ended_ms=at + 1)]
            history.traces[job.id] = _marks(1, 10, 20)
        history.counts["completed"] += fired
        last_ms = 2 * MINUTE_MS
        stored = EVERY_MINUTE._replace(overlap=overlap, last_ms=last_ms, fired=fired)
        history.schedules = [(stored._replace(**changes), MINUTE_MS)]

    return change


def _twice_fired(history: History) -> None:
    _scheduled("allow")(history)
    _set_job("s1", scheduled_ms=MINUTE_MS)(history)


def _unreplaced(history: History) -> None:
    _scheduled("replace")(history)
    _set_runs("s0", *(_run(n, started_ms=n, ended_ms=2 * MINUTE_MS + n) for n in (1, 2)))(history)


def _timed_out(history: History) -> None:
    """The second run of `bad`, whose timeout is 1 s, was suspended for 80 ms of its 1030 ms."""
    late = {"outcome": Outcome.TIMEOUT, "exit_code": None, "ran_ms": 1030}
    _set_runs("bad", _failed(1), _failed(2, **late))(history)
    history.traces["bad"].append(TraceLine(word="beat", attempt=2, pid=102, at_cs=20))


WRONG: list[tuple[str, Callable[[History], None]]] = [
    ("damaged", _set("damage", ["a page is never used"])),
    ("lost", _set("acknowledged", {"good", "lost"})),
    ("invented", _set("asked", {"good", "edited", "bad"})),
    ("unfinished", _set_job("good", state=State.PENDING)),
    ("unfinished", _set_job("good", state=State.PROCESSING)),
    ("unfinished", _set_runs("good", _run(ended_ms=None, outcome=None, exit_code=None))),
    ("miscounted", _set_job("bad", attempts=1)),
    ("miscounted", _set_job("good", attempts=1)),
    ("miscounted", _set_job("good", runs=2)),
    ("miscounted", _set_runs("bad", _failed(1), _failed(3))),
    ("miscounted", _set_runs("bad", _failed(1, outcome=Outcome.INTERRUPTED), _failed(2))),
    ("illegal", _set_runs("good", _failed(1))),
    ("illegal", _set_runs("good")),
    ("illegal", _set_job("bad", max_retries=3)),
    ("illegal", _set_runs("good", _run(1), _run(2))),
    ("illegal", _set_runs("bad", _failed(1), _failed(2), _failed(3))),
    ("changed", _set("seen", [OTHER])),
    ("changed", _set("announced", [OTHER])),
    ("changed", _set("seen", [replace(OK, attempt=2)])),
    ("twice", _set("announced", [OK, OK])),
    ("overlapping", _set_trace("bad", *_marks(1, 10, 22), *_marks(2, 20, 30))),
    ("overlapping", _set_trace("bad", *_marks(1, 10, 20), OVERLAP, *_marks(2, 20, 30))),
    ("untold", _set_trace("bad", *_marks(1, 10, 20), *_marks(2, 20, 30), *_marks(3, 30, 40))),
    ("untold", _set_trace("good", *_marks(1, 10, 20), *_marks(1, 30, 40))),
    ("untold", _set_trace("good", _marks(1, 10, 20)[0])),
    ("early", _set_runs("bad", _failed(1), _failed(2, started_ms=12_990))),
    ("uncancelled", _set("cancelled", {"bad"})),
    ("miscounted_labels", _set("counts", {"completed": 3, "dead": 1})),
    ("unprinted", _set("output", {("good", 1): b"hell"})),
    ("left_behind", _set("alive", ["sleep 100"])),
    ("unhooked", _set_job("bad", options=HOOKED)),
    ("unhooked", _set_job("gone", options=JobOptions(env=PARENT))),
    ("ended_wrongly", _set("ends", [ServiceEnd(service="log.0", exit_code=0, allowed=KILLED)])),
    ("exceeded", _set_trace("good", EXCEEDED, *_marks(1, 10, 20))),
    ("rushed", _set("rates", {"default": (3, 20_010)})),
    ("rushed", _set_job("bad", key="k", key_rate_starts=1, key_rate_ms=20_010)),
    ("shared", _set("keys", [("k", ["good", "bad"])])),
    ("expired", _set_job("good", expires_ms=10_000)),
    ("expired", _set_runs("good", _run(outcome=Outcome.EXPIRED))),
    ("held", _set("holds", [("good", 0, 1)])),
    ("unedited", _set("edits", {"good": [0]})),
    ("unedited", _set_job("edited", labels={"edit": "0"})),
    ("unedited", _set_trace("edited", *_marks(1, 60, 70))),
    ("paused", _set("pauses", [("default", 5_000, {("bad", 2): 6_000})])),
    ("suspended", _set_trace("bad", *_marks(1, 10, 20), *_marks(2, 20, 24))),
    ("suspended", _set("suspensions", [replace(SUSPENDED, late=["pid 7"])])),
    ("resumed", _set("suspensions", [replace(SUSPENDED, stuck=["pid 7"])])),
    ("timed_out", _timed_out),
    ("misplaced", _set("moves", [(_job("b", State.PENDING, seq=2), _job("a", State.PENDING))])),
    ("torn", _set("arrays", {"t": {"t_1", "t_2"}})),
    ("torn", _set_job("good", array_id="t")),
    ("untimely", _set("waits", {"good": [("after", "bad")]})),
    ("untimely", _set("waits", {"good": [("after_fail", "bad")]})),
    ("misfired", _twice_fired),
    ("misfired", _scheduled("allow", next_ms=2 * MINUTE_MS)),
    ("misfired", _scheduled("allow", fired=1)),
    ("misfired", _scheduled("skip", skipped=2, fired=1)),
    ("misfired", _scheduled("allow", last_ms=MINUTE_MS)),
    ("misfired", _unreplaced),
]


@pytest.mark.parametrize(("rule", "spoil"), WRONG)
def test_a_wrong_history_breaks_its_rule(rule: str, spoil: Callable[[History], None]) -> None:
    history = _history()
    spoil(history)
    assert rule in {line.split(":")[0] for line in checker.check(history)}


def test_each_rule_has_a_wrong_history() -> None:
    assert {rule.__name__.strip("_") for rule in checker.RULES} == {rule for rule, _ in WRONG}
    rules = [
        name
        for module in (checker, user_rules)
        for name, _ in inspect.getmembers(module, inspect.isgeneratorfunction)
    ]
    parts = {"_too_often", "_spans_of_claims", "_unreplaced"}
    assert {*rules} - parts == {r.__name__ for r in checker.RULES}


@pytest.mark.parametrize("name", ["good", "edited"])
def test_a_lost_job_is_reported_whatever_was_done_to_it(name: str) -> None:
    history = _history()
    history.acknowledged.add(name)
    del history.jobs[name]
    assert f"lost: {name}" in checker.check(history)


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "replace"])
def test_schedules_that_have_fired_for_each_time_break_no_rule(overlap: str) -> None:
    history = _history()
    _scheduled(overlap)(history)
    assert checker.check(history) == []


def test_a_time_may_be_skipped_or_missed_by_its_policies() -> None:
    for overlap, changes in (("skip", {"skipped": 1}), ("allow", {"catch_up": "last"})):
        history = _history()
        _scheduled(overlap, fired=1, **changes)(history)
        assert checker.check(history) == []


def test_a_retry_by_a_user_gives_the_full_budget_again() -> None:
    history = _history()
    _set_runs("bad", *(_failed(n) for n in (1, 2, 3, 4)))(history)
    assert any(line.startswith("miscounted: bad") for line in checker.check(history))
    history.retried["bad"] = [2]
    history.traces["bad"] += [*_marks(3, 30, 40), *_marks(4, 40, 50)]
    assert checker.check(history) == []


def test_each_end_of_a_job_with_a_hook_has_one_hook_job() -> None:
    history = _history()
    _set_job("bad", options=HOOKED)(history)
    _set_job("gone", options=JobOptions(env=PARENT))(history)
    history.asked.remove("gone")
    assert checker.check(history) == []
    history.died["bad"] = 1
    assert [line.split(":")[0] for line in checker.check(history)] == ["unhooked"]


def test_a_rate_allows_a_start_that_may_have_been_claimed_after_the_interval() -> None:
    history = _history()
    history.rates = {"default": (3, 20_000), "other": (1, 86_400_000)}
    assert checker.check(history) == []
    _set_runs("bad", _failed(1), _failed(2, outcome=Outcome.EXPIRED))(history)
    history.rates = {"default": (3, 86_400_000)}
    assert "rushed" not in {line.split(":")[0] for line in checker.check(history)}


def test_a_deferred_run_is_not_counted_and_waits() -> None:
    history = _history()
    _set_runs("good", _run(1, exit_code=75), _run(2))(history)
    history.traces["good"] += _marks(2, 20, 30)
    history.output["good", 2] = b"hello\n"
    history.announced.clear()
    history.seen.clear()
    options = JobOptions(defer_delay=2, defer_on=(75,))
    _set_job("good", options=options)(history)
    assert checker.check(history) == []
    history.attempts["good"][1] = _run(2, started_ms=12_000)
    assert [line.split(":")[0] for line in checker.check(history)] == ["early"]


def test_a_record_stands_for_deferred_runs_in_a_row() -> None:
    history = _history()
    deferred = _run(2, exit_code=75, deferrals=2)
    _set_runs("good", deferred, _run(3))(history)
    history.traces["good"] += [*_marks(2, 20, 30), *_marks(3, 40, 50)]
    history.output["good", 3] = b"hello\n"
    history.announced = [replace(OK, attempt=n, exit_code=75) for n in (1, 2)]
    history.seen.clear()
    _set_job("good", runs=3, options=JobOptions(defer_on=(75,)))(history)
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
