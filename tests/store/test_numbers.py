"""The numbers about all runs: totals that survive a purge, and sizes."""

from collections import Counter

import pytest

from queued.core.model import Outcome, State
from queued.core.records import JobFilter
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
    found = list(engine.store.numbers.ended_runs(since_ms=NOW + 1))
    assert [(run.ended_ms, run.queue) for run in found] == [
        (NOW + 1, "q2"), (NOW + 1, "q3"), (NOW + 2, "q4"), (NOW + 2, "q5"),
    ]  # fmt: skip
    assert found[0][2:] == (1, "q2", "exit 2", "exit", 2, 0, 2, 2, 1, 2, None)
    assert list(engine.store.numbers.ended_runs(since_ms=NOW + 3)) == []
