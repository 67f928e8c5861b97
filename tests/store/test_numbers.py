"""The numbers about all runs: totals and counts of minutes that survive a purge, and sizes."""

from collections import Counter, defaultdict
from typing import Any

import pytest

from queued.core.model import Outcome, State
from queued.core.records import JobFilter
from queued.core.run_periods import HOUR_MS, HOURS_KEPT_MS, MINUTES_KEPT_MS, span_begin
from queued.core.run_stats import RunStats
from queued.core.runs import Ending
from tests.store.engine import FAILED, NOW, OK, Engine


def _total(engine: Engine) -> Counter[tuple[str, str]]:
    found = Counter[tuple[str, str]]()
    for one in engine.store.numbers.run_totals():
        found[one.queue, one.result] += one.runs
    return found


def test_each_recorded_run_is_counted_once_and_a_purge_forgets_none(engine: Engine) -> None:
    engine.register()
    engine.add(queue="a")
    claim = engine.must_claim(now_ms=NOW + 7)
    assert engine.end(claim, OK._replace(ran_ms=2600)) is State.COMPLETED
    assert engine.end(claim, OK) is None  # not in force
    engine.add(queue="b", max_retries=1)
    assert engine.end(engine.must_claim(), FAILED._replace(ran_ms=10**9)) is State.DEAD
    engine.add(queue="b")
    engine.end(engine.must_claim(), Ending(Outcome.LOST))
    engine.add(queue="c", expires_at_ms=NOW + 5)
    with engine.ledger.transaction():
        (expired,) = engine.ledger.expire("i", 500, now_ms=NOW + 9, limit=1)
    engine.end(expired, Ending(Outcome.EXPIRED))
    ended = [job.seq for job in engine.jobs() if job.state in {State.COMPLETED, State.DEAD}]
    assert engine.store.purge(ended, JobFilter()).jobs == 3
    found = {one[:2]: one[2:] for one in engine.store.numbers.run_totals()}
    assert found == {
        ("a", "completed"): (10, 5000, 1, 7, 2600),
        ("b", "exit"): (5, 0, 1, 0, 10**9),
        ("b", "lost"): (5, -1, 1, 0, 0),
        ("c", "expired"): (-1, -1, 1, 0, 0),
    }


def test_services_that_have_ended_leave_their_totals(engine: Engine) -> None:
    for name in ("i", "j", "k"):
        engine.register(name)
        engine.add()
        with engine.ledger.transaction():
            (claim,) = engine.ledger.claim(name, [1], 77, now_ms=NOW)
        engine.end(claim)
        assert _total(engine) == {("default", "completed"): "ijk".index(name) + 1}
        with engine.ledger.transaction():
            assert engine.ledger.unregister(name)


def test_the_size_of_the_database(engine: Engine) -> None:
    assert sum(engine.store.numbers.sizes()) > 10_000


def test_the_runs_of_a_span_come_in_pages(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queued.store.numbers.PAGE", 2)
    for n in range(6):
        engine.add(f"exit {n}", queue=f"q{n}", max_retries=1)
        ending = Ending(Outcome.EXIT, n, ended_ms=NOW + n // 2, ran_ms=n, cpu_ms=1, peak_kib=2)
        engine.end(engine.must_claim(now_ms=NOW + n), ending)
    engine.running()
    newest_runs = engine.store.numbers.newest_runs
    found = list(newest_runs(since_ms=NOW + 1))
    assert [(run.ended_ms, run.queue) for run in found] == [
        (NOW + 2, "q5"), (NOW + 2, "q4"), (NOW + 1, "q3"), (NOW + 1, "q2"),
    ]  # fmt: skip
    assert found[3][2:] == (1, "q2", "exit 2", "exit", 2, 0, 2, 2, 1, 2, None)
    assert [run.queue for run in newest_runs(since_ms=NOW, limit=3)] == ["q5", "q4", "q3"]
    assert list(newest_runs(since_ms=NOW + 3)) == []


def _run(engine: Engine, now_ms: int, ran_ms: int | None = 50, **fields: Any) -> None:
    engine.add(now_ms=now_ms - 200, **fields)
    claim = engine.must_claim(now_ms=now_ms)
    engine.end(claim, OK._replace(ran_ms=ran_ms, cpu_ms=7, peak_kib=ran_ms), now_ms=now_ms)


def _counted(engine: Engine, since_ms: int = 0, by: str = "") -> dict[str, RunStats]:
    found = defaultdict[str, RunStats](RunStats)
    for part in engine.store.numbers.period_runs(since_ms=since_ms, by=by):
        found[part.group].add_part(part)
    return found


def test_the_runs_of_each_minute_are_counted_as_if_they_were_read(engine: Engine) -> None:
    engine.register()
    for n, ran_ms in enumerate((3, 50, 51, 4000, None)):
        _run(engine, NOW + n, ran_ms, queue=f"q{n % 2}")
    engine.add(max_retries=9)
    engine.end(engine.must_claim(), FAILED)
    engine.promote(now_ms=NOW + 10**6)
    again = engine.must_claim(now_ms=NOW + 10**6)
    engine.end(again, Ending(Outcome.TIMEOUT, ran_ms=9, ended_ms=NOW + 70_000, cpu_ms=4))
    engine.add(queue="late", expires_at_ms=NOW + 5)
    with engine.ledger.transaction():
        (expired,) = engine.ledger.expire("i", 500, now_ms=NOW + 9, limit=1)
    engine.end(expired, Ending(Outcome.EXPIRED))
    read = RunStats()
    for run in engine.store.numbers.newest_runs(since_ms=0):
        read.add(run)
    (counted,) = _counted(engine).values()
    assert _figures(counted) == _figures(read)
    assert (counted.runs, counted.retries, counted.cpu_ms, counted.peak_kib) == (8, 1, 39, 4000)
    by = {name: one.runs for name, one in _counted(engine, by="queue").items()}
    assert by == {"q0": 3, "q1": 2, "default": 2, "late": 1}
    by = {name: one.runs for name, one in _counted(engine, by="result").items()}
    assert by == {"completed": 5, "exit": 1, "timeout": 1, "expired": 1}
    minute = NOW // 60_000 * 60_000
    assert [one.runs for one in _counted(engine, minute + 60_000).values()] == [1]
    engine.store.purge([job.seq for job in engine.jobs()], JobFilter())
    (kept,) = _counted(engine).values()
    assert _figures(kept) == _figures(counted)


def _figures(one: RunStats) -> tuple[object, ...]:
    quantiles = [
        times.quantile_s(part) for times in (one.waits, one.times) for part in (0.1, 0.5, 0.9)
    ]
    counts = (one.runs, one.completed, one.failed, one.retries, one.cpu_ms, one.peak_kib)
    return (*counts, *quantiles)


def test_old_minutes_become_hours_and_old_hours_are_forgotten(engine: Engine) -> None:
    hour = NOW // HOUR_MS * HOUR_MS
    for ended_ms in (hour, hour + 5 * 60_000, hour + 5 * 60_000 + 1, hour + 59 * 60_000):
        _run(engine, ended_ms)
    (before,) = _counted(engine).values()
    assert len(_counted(engine, hour + 60_000).values()) == 1
    for _ in range(5):  # a step has one minute
        _run(engine, hour + HOUR_MS + MINUTES_KEPT_MS, queue="later")
    by = _counted(engine, by="queue")
    assert _figures(by["default"]) == _figures(before)
    assert by["later"].runs == 5
    assert "default" not in _counted(engine, hour + 60_000, by="queue")
    hours = {int(name): one.runs for name, one in _counted(engine, by="hour").items()}
    assert hours == {hour: 4, hour + HOUR_MS + MINUTES_KEPT_MS: 5}
    for _ in range(3):
        _run(engine, hour + HOUR_MS + HOURS_KEPT_MS, queue="last")
    assert {*_counted(engine, by="queue")} == {"later", "last"}


def test_a_result_that_comes_late_is_added_to_its_hour(engine: Engine) -> None:
    hour = NOW // HOUR_MS * HOUR_MS
    _run(engine, hour)
    now = hour + HOUR_MS + MINUTES_KEPT_MS
    for _ in range(3):
        _run(engine, now)
    engine.add()
    engine.end(engine.must_claim(now_ms=hour + 9), OK._replace(ended_ms=hour + 10), now_ms=now)
    for _ in range(2):
        _run(engine, now + 60_000)
    hours = {int(name): one.runs for name, one in _counted(engine, by="hour").items()}
    assert hours == {hour: 2, now: 5}
    assert str(hour) not in _counted(engine, hour + 60_000, by="hour")


def test_a_span_begins_at_a_minute_or_an_hour_that_is_kept() -> None:
    now = NOW // HOUR_MS * HOUR_MS + 1_234_567
    assert span_begin(now - 90_000, now) == (now - 90_000) // 60_000 * 60_000
    assert span_begin(now - HOUR_MS - 1, now) == (now - 1_234_567) - HOUR_MS
    assert span_begin(0, now) == (now - HOURS_KEPT_MS) // HOUR_MS * HOUR_MS
