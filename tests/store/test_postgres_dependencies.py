"""Jobs that wait for others on a server, where several transactions write at the same time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import quote

import pytest

from queued.core.errors import NotFoundError
from queued.core.model import Label, NewJob, State
from queued.core.records import JobFilter
from queued.core.settlement import Settlement, judge
from queued.store.ledger import Ledger
from queued.store.postgres.dispatcher_store import PostgresLedger
from tests.postgres_server import shared_queue
from tests.service import eventually
from tests.store.engine import BACKOFF, NOW, OK, Engine
from tests.store.engines import ENGINES


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A queue on PostgreSQL."""
    with ExitStack() as stack:
        yield ENGINES["postgres"](tmp_path, stack)


def _meanwhile(work: Callable[[], object]) -> threading.Thread:
    """Starts the work, and returns when it has ended or waits for a lock."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.5)
    return thread


def test_of_two_dispatchers_that_end_the_last_two_jobs_the_later_one_releases_the_third(
    engine: Engine,
) -> None:
    engine.add(id="a")
    engine.add(id="b")
    third = engine.add(after=("a", "b"))
    claims, other = [engine.must_claim(token=token) for token in (1, 2)], engine.another_ledger()

    def end(ledger: Ledger, index: int) -> None:
        claim = claims[index]
        ending = Settlement(claim, OK, judge(claim, OK, BACKOFF, now_ms=NOW))
        ledger.settle([ending], now_ms=NOW)
        ledger.promote(now_ms=NOW, limit=1)

    def end_second() -> None:
        with other.transaction():
            end(other, 1)

    with engine.ledger.transaction():
        end(engine.ledger, 0)
        thread = _meanwhile(end_second)
    thread.join()
    assert engine.store.show(third).label is Label.PENDING


def test_a_job_that_is_enqueued_while_the_other_one_ends_does_not_wait_for_ever(
    engine: Engine,
) -> None:
    engine.add(id="a")
    claim, store = engine.must_claim(), engine.another_store()
    with engine.ledger.transaction():
        ending = Settlement(claim, OK, judge(claim, OK, BACKOFF, now_ms=NOW))
        engine.ledger.settle([ending], now_ms=NOW)
        engine.ledger.promote(now_ms=NOW, limit=1)
        new = [NewJob("true", id="b", after=("a",))]
        thread = _meanwhile(lambda: store.enqueue(new, max_retries=3, now_ms=NOW))
    thread.join()
    assert engine.store.show(store.find("b")).label is Label.PENDING


def test_a_turn_and_a_cancel_of_many_jobs_lock_them_in_one_order(engine: Engine) -> None:
    """The turn ends a job and then tells its dependent; both are cancelled meanwhile."""
    engine.add(id="a")
    engine.add(after=("a",))
    claim, store = engine.must_claim(), engine.another_store()
    both = JobFilter((Label.BLOCKED, Label.PROCESSING))
    options = quote("-c deadlock_timeout=5ms")
    with closing(PostgresLedger(f"{shared_queue()}&options={options}")) as ledger:
        with ledger.transaction():
            ending = Settlement(claim, OK, judge(claim, OK, BACKOFF, now_ms=NOW))
            ledger.settle([ending], now_ms=NOW)
            thread = _meanwhile(lambda: store.cancel_all([1, 2], both, now_ms=NOW))
            ledger.promote(now_ms=NOW, limit=1)
        thread.join()
    assert [job.label for job in engine.jobs()] == [Label.COMPLETED, Label.PENDING]


@pytest.mark.parametrize("again", [False, True], ids=["", "and enqueued again"])
@pytest.mark.parametrize("state", [State.DEAD, State.COMPLETED])
def test_a_job_that_is_removed_meanwhile_is_unknown(
    engine: Engine, state: State, *, again: bool
) -> None:
    engine.put(state, id="a")
    store, errors = engine.another_store(), list[NotFoundError]()

    def enqueue() -> None:
        try:
            store.enqueue([NewJob("true", after_any=("a",))], max_retries=3, now_ms=NOW)
        except NotFoundError as error:
            errors.append(error)

    with engine.ledger.transaction():
        step = engine.ledger.prune(state, after=0, before_ms=NOW + 1, limit=9)
        assert step.removed == 1
        if again:
            engine.ledger.enqueue([NewJob("true", "a")], max_retries=3, now_ms=NOW)
        thread = _meanwhile(enqueue)
    thread.join()
    assert [str(error)[:12] for error in errors] == ["no job 'a', "]
    assert len(engine.jobs()) == again


def test_an_idle_service_makes_a_turn_for_dependents(engine: Engine) -> None:
    engine.register()
    first = engine.add(id="a", delay_ms=10**12)
    engine.add(after_any=("a",))
    for ended in (False, True):
        if ended:
            engine.store.cancel(first, now_ms=NOW)
        renewal = engine.ledger.renew_idle("i", [0])
        assert renewal is not None
        assert renewal.has_work is ended


def test_idle_services_are_told_of_dependents_that_are_ready(engine: Engine) -> None:
    engine.register("j")
    with engine.ledger.transaction():
        engine.ledger.set_hungry("j", hungry=True)
    engine.add(id="a")
    engine.add(after=("a",))
    other = engine.another_ledger()
    other._database.listen(heard := Mock(), Mock())  # type: ignore[attr-defined]
    engine.end(engine.must_claim())
    engine.promote(now_ms=NOW)

    def told() -> bool:
        other._database.receive()  # type: ignore[attr-defined]
        return heard.called

    eventually(told)
