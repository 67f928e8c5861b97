"""What a server has and a file has not: dispatchers at the same time, and unknown commits."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch
from urllib.parse import quote

import psycopg
import pytest

from queued.core.errors import (
    BusyError,
    CommitUnknownError,
    ConflictError,
    NotFoundError,
    StorageError,
)
from queued.core.fair_share import Policy
from queued.core.lease import IdleRenewal
from queued.core.model import Instance, Label, NewJob, Outcome, State
from queued.core.records import JobFilter, Share
from queued.core.run_periods import HOUR_MS, MINUTES_KEPT_MS
from queued.core.runs import Claim, Ending, HeldRun
from queued.core.settlement import Settlement, Verdict, judge
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.queue_claims import NO_QUEUES, OpenQueues
from queued.service.dispatcher.turn import TurnRunner
from queued.service.dispatcher.turn_results import Turn
from queued.store.ledger import Ledger
from queued.store.postgres import address, sql_loader
from queued.store.postgres.connection import Database
from queued.store.postgres.dispatcher_store import PostgresLedger
from queued.store.postgres.queues import StoreQueues
from tests import postgres_server
from tests.default_settings import DEFAULTS
from tests.hosts.link import Link
from tests.service import eventually, let_pass
from tests.store.engine import BACKOFF, FAILED, NOW, OK, Engine, plain_shares, purge, retry_all
from tests.store.engines import ENGINES

DONE = Verdict(State.COMPLETED, 0, NOW, None)
DEAD = Verdict(State.DEAD, 1, NOW, "exit 1")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A queue on PostgreSQL."""
    with ExitStack() as stack:
        yield ENGINES["postgres"](tmp_path, stack)


def _claims(ledger: Ledger, count: int, token: int, instance: str = "i") -> list[Claim]:
    return ledger.claim(instance, [*range(1, count + 1)], token, now_ms=NOW)


def test_two_dispatchers_claim_different_jobs_at_the_same_time(engine: Engine) -> None:
    engine.store.enqueue([NewJob("true")] * 30, max_retries=3, now_ms=NOW)
    other = engine.another_ledger()
    with engine.ledger.transaction(), other.transaction():
        first, second = _claims(engine.ledger, 10, 100), _claims(other, 20, 200, "j")
        assert [claim.key.job for claim in first] == [*range(1, 11)]
        assert [claim.key.job for claim in second] == [*range(11, 31)]
        assert _claims(engine.ledger, 1, 110) == []
    engine.check_counters()


def test_of_two_records_at_the_same_time_one_counts(engine: Engine) -> None:
    """As when a rescuer takes an instance for dead that is about to record a result."""
    (job, claim), other = engine.put(State.PROCESSING), engine.another_ledger()
    assert claim is not None
    states: list[State | None] = []

    def rescue() -> None:
        with other.transaction():
            lost = Settlement(claim, Ending(Outcome.LOST), DEAD)
            states.extend(other.settle([lost], now_ms=NOW))

    rescuer = threading.Thread(target=rescue)
    with engine.ledger.transaction():
        states.extend(engine.ledger.settle([Settlement(claim, OK, DONE)], now_ms=NOW))
        rescuer.start()
        eventually(lambda: _waiting(engine))
    rescuer.join()
    assert states == [State.COMPLETED, None]
    assert [run.outcome for run in engine.store.attempts(job)] == [Outcome.EXIT]


def test_a_cancel_reaches_a_job_that_fails_at_the_same_time(engine: Engine) -> None:
    """The job runs when the cancel begins, and waits for its retry when the cancel gets its row."""
    job, claim = engine.running()
    states: list[State | None] = []
    user = threading.Thread(target=lambda: states.append(engine.store.cancel(job, now_ms=NOW)))
    with engine.ledger.transaction():
        retry = judge(claim, FAILED, BACKOFF, now_ms=NOW)
        engine.ledger.settle([Settlement(claim, FAILED, retry)], now_ms=NOW)
        user.start()
        eventually(lambda: _waiting(engine))
    user.join()
    assert states == [State.CANCELLED]


def test_a_pause_of_a_queue_waits_for_the_claims_that_are_made(engine: Engine) -> None:
    job, _ = engine.add(), engine.register("i")
    pause = partial(engine.store.queues.change, "default", paused_ms=NOW)
    user = threading.Thread(target=pause)
    with engine.ledger.transaction():
        assert [claim.key.job for claim in _claims(engine.ledger, 1, 100)] == [job]
        user.start()
        eventually(lambda: _waiting(engine))
    user.join()
    engine.add()
    assert engine.claim() is None


def test_starts_in_the_future_get_one_time(engine: Engine) -> None:
    """Else a start would be older than the one before, if their rows are changed in that order."""
    engine.store.queues.change("mail", rate_starts=50_000, rate_ms=60_000)
    _execute(
        "INSERT INTO queued.starts"
        " SELECT 'queue', 'mail', n, 1, (extract(epoch FROM now()) + 3600) * 1000"
        " FROM generate_series(20000, 0, -1) AS n"
    )
    with engine.ledger.transaction():
        assert engine.ledger.queues.full_rates(["mail"], NOW) == {}
    where = address.parse(postgres_server.shared_queue())
    counted = sql_loader.in_schema("SELECT count(DISTINCT at) FROM queued.starts", where.schema)
    with psycopg.connect(where.conninfo) as server:
        assert server.execute(counted.encode()).fetchall() == [(1,)]


def test_a_clock_that_is_behind_makes_no_turn_follow_another_at_once(engine: Engine) -> None:
    """The clock of the server was set back, which the next renewal tells."""
    engine.store.queues.change("default", rate_starts=1, rate_ms=1_000)
    for _ in range(2):
        engine.add()
    now_ms = engine.ledger.now_ms() + 3_600_000
    queues = OpenQueues(
        {"default": (0,)}, {"default": Policy(limited=True)}, {}, frozenset({"default"})
    )
    pool = Mock(claims=ClaimTable([]), inbox=[], present=lambda: [1, 2])
    with engine.ledger.transaction():
        turn = TurnRunner(engine.ledger, "i").turn(
            pool, DEFAULTS, queues=queues, restoring=False, now_ms=now_ms
        )
    assert len(turn.claimed) == 1
    assert turn.rate_waits
    assert turn.next_due_ms is not None
    assert now_ms < turn.next_due_ms < now_ms + 1_000


def test_services_are_told_of_a_pause_that_waits_for_a_stuck_one(engine: Engine) -> None:
    _, _ = engine.add(), engine.register("i")
    told = threading.Event()
    database = engine.another_ledger()._database  # type: ignore[attr-defined]
    database.listen(told.set, lambda _: None)
    pause = partial(engine.store.queues.change, "default", paused_ms=NOW)
    user = threading.Thread(target=pause)
    with engine.ledger.transaction():
        assert _claims(engine.ledger, 1, 100)
        user.start()
        eventually(lambda: _waiting(engine))
        with database.transaction():
            database.run("used_places")
        assert told.is_set()
    user.join()


def test_a_claim_that_begins_before_a_pause_and_locks_after_it_takes_nothing(
    engine: Engine,
) -> None:
    _, _ = engine.add(), engine.register("i")
    taken: list[Claim | None] = []
    service = threading.Thread(target=lambda: taken.append(engine.claim()))
    database = engine.another_store()._database  # type: ignore[attr-defined]
    with database.transaction("operator"):
        StoreQueues(database)._change("default", {"paused_ms": NOW})
        database.run("await_claims", id="i")
        service.start()
        eventually(lambda: _waiting(engine))
    service.join()
    assert taken == [None]


def test_jobs_that_a_user_keeps_from_being_removed_are_promoted_and_claimed(engine: Engine) -> None:
    jobs = [engine.add(), engine.add(key="k"), engine.add(run_at_ms=NOW + 1000)]
    user = engine.another_store()._database  # type: ignore[attr-defined]
    with user.transaction("operator"):
        user.script(f"SELECT {user.address.schema}.keep_jobs(ARRAY{jobs})")
        engine.promote(now_ms=NOW + 1000)
        with engine.ledger.transaction():
            assert len(engine.ledger.claim("i", [1, 2, 3], 100, now_ms=NOW + 1000)) == len(jobs)


def test_a_clock_of_a_user_that_is_ahead_delays_no_job(engine: Engine) -> None:
    ahead_ms = engine.ledger.now_ms() + 3_600_000
    jobs = [engine.add(key=f"k{n}", now_ms=ahead_ms) for n in range(3)]
    engine.store.edits.hold([jobs[1]], now_ms=ahead_ms)
    engine.store.edits.release([jobs[1]], now_ms=ahead_ms)
    engine.store.cancel(jobs[2], now_ms=ahead_ms)
    engine.store.retry([jobs[2]], now_ms=ahead_ms)
    now_ms = engine.ledger.now_ms() + 100
    engine.promote(now_ms=now_ms)
    with engine.ledger.transaction():
        assert len(engine.ledger.claim("i", [1, 2, 3], 100, now_ms=now_ms)) == 3


def test_the_free_places_of_a_key_are_given_at_once(engine: Engine) -> None:
    engine.store.enqueue([NewJob("true", key="k", key_limit=40)] * 50, max_retries=3, now_ms=NOW)
    database = engine.ledger._database  # type: ignore[attr-defined]
    with patch.object(database, "rows", wraps=database.rows) as rows:
        engine.promote(now_ms=NOW)
    assert [call.args[0] for call in rows.mock_calls].count("give_places") == 2
    assert len(engine.jobs(Label.BLOCKED)) == 10


def test_changes_of_keys_that_were_taken_long_ago_are_not_passed_again(engine: Engine) -> None:
    engine.add(key="k")
    for later_ms in (0, 1, 21_000, 42_000, 42_001):
        engine.add(key="k")
        engine.promote(now_ms=NOW + later_ms)
        first = engine.ledger._due._keys.first  # type: ignore[attr-defined]
    assert first > 1


def test_a_change_of_a_key_that_is_committed_late_is_found(engine: Engine) -> None:
    """Its number is from before the changes that were taken long ago."""
    for _ in range(2):
        engine.add(key="k")
    for later_ms in (0, 21_000, 42_000, 42_001):
        engine.add(key="other")
        engine.promote(now_ms=NOW + later_ms)
    claims = [engine.must_claim(token=token) for token in (1, 2)]
    engine.end(next(claim for claim in claims if claim.id == engine.jobs()[0].id))
    _execute("DELETE FROM queued.changed_keys")
    _execute("INSERT INTO queued.changed_keys (seq, key) OVERRIDING SYSTEM VALUE VALUES (1, 'k')")
    for later_ms, state in ((42_002, Label.BLOCKED), (63_000, Label.PENDING)):
        engine.promote(now_ms=NOW + later_ms)
        assert engine.jobs()[1].label is state


def _waiting(engine: Engine) -> bool:
    """Whether a statement waits for a lock."""
    server = postgres_server.url()
    assert server is not None
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with psycopg.connect(server) as connection:
        return connection.execute(waits).fetchone() != (0,)


def test_short_time_limits_of_the_server_delay_a_turn_and_no_more(engine: Engine) -> None:
    """An administrator may set them for a user or a database."""
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    options = " ".join(f"-c {name}=100" for name in limits)
    row, shared = engine.add(), postgres_server.shared_queue()
    with closing(PostgresLedger(f"{shared}&options={quote(options)}")) as ledger:
        with psycopg.connect(address.parse(shared).conninfo) as other:
            lock = f"LOCK TABLE {address.parse(shared).schema}.jobs IN EXCLUSIVE MODE"
            other.execute(lock.encode())
            ended = pytest.raises(BusyError, match="the server ended the statement")
            with ended, ledger.transaction():
                _claims(ledger, 1, 500)
        with ledger.transaction():
            assert [claim.key.job for claim in _claims(ledger, 1, 500)] == [row]
            let_pass(0.2)


def test_all_that_move_jobs_at_the_same_time_lock_them_in_one_order(engine: Engine) -> None:
    """Neither dispatchers nor users get in each other's way, whatever they move.

    The defaults of the server do not change that.
    """
    options = "-c deadlock_timeout=5ms -c default_transaction_isolation=serializable"
    url = f"{postgres_server.shared_queue()}&options={quote(options)}"
    engine.store.enqueue([NewJob("true")] * 200, max_retries=3, now_ms=NOW)
    failures: list[BaseException] = []

    def turns(instance: str) -> None:
        with closing(PostgresLedger(url)) as ledger:
            claims: list[Claim] = []
            for turn in range(40):
                with ledger.transaction():
                    endings = [Settlement(claim, OK, DEAD) for claim in reversed(claims)]
                    ledger.settle(endings, now_ms=NOW)
                    ledger.promote(now_ms=NOW + turn * 2000, limit=10)
                    claims = _claims(ledger, 20, turn * 100 + 1, instance)
                    ledger.prune(State.CANCELLED, after=0, before_ms=NOW + 1, limit=50)

    def users() -> None:
        store = engine.another_store()
        for turn in range(20):
            store.enqueue(
                [NewJob("true", f"{turn}-{n}") for n in range(9)], max_retries=3, now_ms=NOW
            )
            for name in (f"{turn}-1", f"{turn}-2"):
                store.cancel(store.find(name), now_ms=NOW)
            dead = [job.seq for job in store.list(JobFilter((Label.DEAD,)), limit=20)]
            with suppress(ConflictError, NotFoundError):
                store.retry(reversed(dead), now_ms=NOW)
            retry_all(store)
            purge(store, Label.CANCELLED)

    def run(what: Callable[[], None]) -> None:
        try:
            what()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [
        threading.Thread(target=run, args=(what,))
        for what in (lambda: turns("i"), lambda: turns("j"), users)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    engine.check_counters(now_ms=NOW + 80_000)


def test_a_prepared_statement_takes_numbers_of_any_size(engine: Engine) -> None:
    small = [Settlement(engine.must_claim(), OK, DONE) for _ in [engine.add()]]
    where = address.parse(postgres_server.shared_queue())
    high = sql_loader.in_schema(
        "ALTER TABLE queued.jobs ALTER seq RESTART 1099511627776", where.schema
    )
    with psycopg.connect(where.conninfo) as server:
        server.execute(high.encode())
    engine.add()
    large = [Settlement(engine.must_claim(token=2**60), OK, DONE)]
    for endings in (small, large, small):
        with engine.ledger.transaction():
            engine.ledger.settle(endings, now_ms=NOW)
            engine.ledger._unknown._in_question.add(endings[0].claim.key)  # type: ignore[attr-defined]
            assert engine.ledger.settle(endings, now_ms=NOW) == [State.COMPLETED]
            step = engine.ledger.prune(State.COMPLETED, after=0, before_ms=NOW, limit=9)
            assert step.removed == 0


@pytest.fixture
def link(engine: Engine) -> Iterator[Link]:
    """The network between the ledger `behind` and the server."""
    server = Path(postgres_server.shared_queue().partition("host=")[2].partition("&")[0])
    with (
        tempfile.TemporaryDirectory() as directory,
        closing(Link(Path(directory), server)) as made,
    ):
        yield made


@pytest.fixture
def behind(link: Link) -> Iterator[PostgresLedger]:
    """A ledger that reaches the server through the link."""
    shared = postgres_server.shared_queue()
    server = shared.partition("host=")[2].partition("&")[0]
    with closing(PostgresLedger(shared.replace(server, str(link.directory)))) as ledger:
        yield ledger


def test_a_slow_answer_does_not_set_the_clock(
    engine: Engine, link: Link, behind: PostgresLedger
) -> None:
    """Half the time of the answer would be added to the clock."""
    link.cut()
    healing = threading.Timer(1.0, link.heal)
    healing.start()
    behind._database.read_server()
    healing.join()
    assert abs(behind.now_ms() - engine.ledger.now_ms()) < 300


@pytest.mark.parametrize("answer_only", [True, False])
def test_a_turn_whose_commit_was_not_answered_can_be_repeated(
    engine: Engine, link: Link, behind: PostgresLedger, *, answer_only: bool
) -> None:
    claim = engine.put(State.PROCESSING).claim
    assert claim is not None
    engine.add()
    ending = [Settlement(claim, OK, DONE)]
    link.lose_commit(answer_only=answer_only)
    with pytest.raises(CommitUnknownError, match="lost during a commit"), behind.transaction():
        assert behind.settle(ending, now_ms=NOW) == [State.COMPLETED]
        unsent = _claims(behind, 1, 500)
    with behind.transaction():
        claims = behind.running_claims("i")
        assert claims == (unsent if answer_only else [claim]), "what was committed is found"
        assert behind.settle(ending, now_ms=NOW) == [State.COMPLETED]
    with behind.transaction():
        assert behind.settle(ending, now_ms=NOW) == [None], "recorded, and known to be"


def test_a_rescue_counts_against_a_commit_that_was_not_made(
    engine: Engine, link: Link, behind: PostgresLedger
) -> None:
    claim = engine.put(State.PROCESSING).claim
    assert claim is not None
    link.lose_commit(answer_only=False)
    with pytest.raises(CommitUnknownError), behind.transaction():
        behind.settle([Settlement(claim, OK, DONE)], now_ms=NOW)
    assert engine.settle(claim, DEAD, Ending(Outcome.LOST)) is State.DEAD
    with behind.transaction():
        assert behind.settle([Settlement(claim, OK, DONE)], now_ms=NOW) == [None]


def test_a_lost_connection_is_made_again_by_the_next_transaction(
    engine: Engine, link: Link, behind: PostgresLedger
) -> None:
    job = engine.add()
    with pytest.raises(StorageError), behind.transaction():
        assert _claims(behind, 1, 500)
        link.reset()
        behind.promote(now_ms=NOW, limit=1)
    assert engine.store.show(job).state is State.PENDING
    with behind.transaction():
        assert _claims(behind, 1, 600)
    assert engine.store.show(job).state is State.PROCESSING


def test_a_server_without_an_answer_is_given_up(
    engine: Engine, link: Link, behind: PostgresLedger
) -> None:
    waits: list[float] = []
    behind._database._connection.limit_s = 0.5
    behind._database._connection.on_wait = waits.append
    link.cut()
    with pytest.raises(StorageError, match="no answer for"), behind.transaction():
        pass
    assert len(waits) > 2, "the watchdog is answered meanwhile"
    link.heal()
    with behind.transaction():
        assert behind.counts() == {}


def test_many_claims_go_on_from_the_last_one_for_a_moment(engine: Engine) -> None:
    engine.store.enqueue([NewJob("true")] * 50, max_retries=3, now_ms=NOW)

    def claim(now_ms: int, count: int) -> list[str]:
        with engine.ledger.transaction():
            workers = [*range(1, count + 1)]
            claims = engine.ledger.claim("i", workers, now_ms * 100, now_ms=now_ms)
        return [claim.id for claim in claims]

    assert len(claim(NOW, 10)) == 10
    engine.add(id="urgent", priority=9)
    assert "urgent" not in claim(NOW + 1, 10)
    engine.add(id="other", priority=8)
    assert claim(NOW + 2, 2)[:2] == ["urgent", "other"], "few claims keep the order"
    engine.add(id="next", priority=9)
    assert claim(NOW + 252, 10)[0] == "next"
    engine.add(id="last", priority=9)
    assert "last" in claim(NOW + 253, 30), "where the rest is not enough"


def test_differences_are_folded_by_one_dispatcher_at_a_time(engine: Engine) -> None:
    for _ in range(3):
        engine.add()
    other = engine.another_ledger()
    with engine.ledger.transaction(), other.transaction():
        engine.ledger.promote(now_ms=NOW, limit=1)
        other.promote(now_ms=NOW, limit=1)  # does not wait
        assert other.counts() == {Label.PENDING: 3}
    where = address.parse(postgres_server.shared_queue())
    left = sql_loader.in_schema("SELECT count(*) FROM queued.deltas", where.schema)
    with psycopg.connect(where.conninfo) as server:
        assert server.execute(left.encode()).fetchone() == (0,)
    engine.check_counters()


def _runs_of_hour(engine: Engine, hour: int) -> int:
    parts = engine.store.numbers.period_runs(since_ms=0, by="hour")
    return sum(one.runs for one in parts if one.group == str(hour) and one.measure == "run")


def test_a_minute_is_folded_while_other_dispatchers_add_to_it(engine: Engine) -> None:
    """As after an outage, when results come late: no row is waited for, and none is lost."""
    hour = NOW // HOUR_MS * HOUR_MS
    later = hour + HOUR_MS + MINUTES_KEPT_MS
    engine.register()

    def run(now_ms: int) -> None:
        engine.add(now_ms=now_ms)
        engine.end(engine.must_claim(now_ms=now_ms), OK._replace(ran_ms=50), now_ms=now_ms)

    for ended_ms in (hour, hour + 1):
        run(ended_ms)
    where = address.parse(postgres_server.shared_queue())
    lock = "SELECT FROM queued.run_periods WHERE measure = 'run' FOR UPDATE"
    with psycopg.connect(where.conninfo) as server:
        server.execute(sql_loader.in_schema(lock, where.schema).encode())
        run(later)
        assert _runs_of_hour(engine, hour) == 2, "the row stays where it is"
    plain = Database.run
    add = "INSERT INTO queued.run_periods SELECT 60000, {}, 'k', 'q', 'exit', 'run', 7, 1, 0, 0, 0"

    def add_after_it(database: Database, name: str, **values: Any) -> None:
        plain(database, name, **values)
        if name == "fold_minute":
            _execute(add.format(hour))

    with patch.object(Database, "run", add_after_it):
        run(later)
    assert _runs_of_hour(engine, hour) == 3
    run(later)
    assert _runs_of_hour(engine, hour) == 3
    assert not [
        one for one in engine.store.numbers.period_runs(since_ms=hour + 1, by="hour")
        if one.group == str(hour)
    ], "all is in the hour"  # fmt: skip


def _take_over(ledger: Ledger) -> dict[str, bool]:
    with ledger.transaction():
        return {other.id: ledger.take_over(other) for other in ledger.instances()}


def test_claims_without_the_row_of_their_instance_are_taken_over_once(engine: Engine) -> None:
    engine.put(State.PROCESSING)
    other = engine.another_ledger()
    assert _take_over(other) == {"i": True}
    assert _take_over(engine.ledger) == {}
    with engine.ledger.transaction():
        assert not engine.ledger.renew("i")
        assert _claims(engine.ledger, 1, 900) == []


def test_an_instance_that_has_renewed_its_lease_is_not_taken_over(engine: Engine) -> None:
    with engine.ledger.transaction():
        engine.ledger.register(_INSTANCE, now_ms=NOW)
    seen = engine.ledger.instance("i")
    assert seen is not None
    with engine.ledger.transaction():
        engine.ledger.worker_started("i", 1, 7, now_ms=NOW)
        assert engine.ledger.renew("i")
        assert not engine.ledger.take_over(seen)
    assert [worker.pid for worker in engine.store.workers()] == [7]
    assert _take_over(engine.ledger) == {"i": True}
    assert engine.ledger.instance("i") is None


def _execute(statement: str) -> None:
    """Runs a statement for the schema of the shared queue."""
    where = address.parse(postgres_server.shared_queue())
    with psycopg.connect(where.conninfo) as server:
        server.execute(sql_loader.in_schema(statement, where.schema).encode())


def test_a_renewal_without_a_turn_reads_all_that_makes_a_turn_necessary(engine: Engine) -> None:
    with engine.ledger.transaction():
        engine.ledger.register(_INSTANCE, now_ms=NOW)

    def renewed(lanes: list[int]) -> IdleRenewal:
        found = engine.ledger.renew_idle("i", lanes)
        assert found is not None
        return found

    first = renewed([0])
    assert (first.renewal.beat, first.beats, first.has_work) == (1, {"i": 0}, False)
    changes = (
        partial(engine.store.config_set, "workers", "3", now_ms=NOW),
        partial(engine.store.drain, "a host", now_ms=NOW),
        partial(engine.store.stop, "i", now_ms=NOW),
        partial(engine.store.queues.change, "default", paused_ms=NOW),
        partial(engine.add, requires="gpu"),
    )
    news = [first.news]
    for change in changes:
        change()
        news.append(renewed([0]).news)
        assert news[-1] == renewed([0]).news
    assert len({*news}) == len(news)
    assert not renewed([0]).has_work, "the only job requires another service"
    assert renewed([0, 1]).has_work
    engine.add(delay_ms=1000, now_ms=engine.ledger.now_ms())
    assert not renewed([0]).has_work
    engine.add(delay_ms=1000)
    assert renewed([0]).has_work, "a job is due, but not promoted"
    assert _take_over(engine.ledger)["i"]
    assert engine.ledger.renew_idle("i", [0]) is None


def test_no_job_is_claimed_on_another_server_than_the_trusted_one(engine: Engine) -> None:
    """As on a backup that was restored, or in another cluster that has the name of the server."""
    engine.add()
    with engine.ledger.transaction():
        engine.ledger.register(_INSTANCE, now_ms=NOW)
        first = engine.ledger.renew("i")
    assert first is not None
    assert first.history == first.trusted == engine.ledger._database._server.history  # type: ignore[attr-defined]
    assert (first.beat, first.longest_s) == (1, 15)
    _execute("UPDATE queued.meta SET history = '7/00000001'")
    assert engine.claim() is None
    with engine.ledger.transaction():
        assert engine.ledger.renew("i") == first._replace(beat=2, trusted="7/00000001")
        engine.ledger.trust_history(first.history)
    assert engine.claim() is not None


def test_a_claim_that_a_failover_has_lost_is_recorded_again(engine: Engine) -> None:
    claim = engine.put(State.PROCESSING).claim
    assert claim is not None
    run = HeldRun(claim.key, claim.id, claim.created_ms)

    def restored(run: HeldRun) -> bool | None:
        at_ms = {"claimed_ms": claim.claimed_ms, "now_ms": NOW}
        return engine.ledger.restore_claim("i", claim.worker, run, **at_ms)

    with engine.ledger.transaction():
        assert restored(run) is False, "it is in force"
        assert engine.ledger.unclaim(claim.key, now_ms=NOW)
    with engine.ledger.transaction():
        for other in (run._replace(id="other"), run._replace(created_ms=NOW + 1)):
            assert not restored(other), "the row is another's"
        assert restored(run)
        assert engine.ledger.running_claims("i") == [claim]
    assert engine.end(claim) is State.COMPLETED
    _execute("DELETE FROM queued.jobs")
    with engine.ledger.transaction():
        assert restored(run) is None


def test_a_server_that_only_reads_is_left_for_another_one(engine: Engine) -> None:
    """A primary that has become a standby keeps the connections of a pooler."""
    before = engine.ledger.connections()
    demoted = engine.ledger._database._connection  # type: ignore[attr-defined]
    demoted.execute("SET default_transaction_read_only = on")
    with pytest.raises(StorageError, match="only reads"), engine.ledger.transaction():
        engine.ledger.register(_INSTANCE, now_ms=NOW)
    with engine.ledger.transaction():
        engine.ledger.register(_INSTANCE, now_ms=NOW)
    assert engine.ledger.connections() == before + 1


def test_a_primary_that_a_failover_replaced_is_refused(engine: Engine) -> None:
    """It was started again and takes writes, which never reach the new primary."""
    database = engine.ledger._database  # type: ignore[attr-defined]
    server = database._server.history.partition("/")[0]
    last = f"{server}/0000000F"  # of the server that was used last
    database._server = database._server._replace(history=last)
    database.close()
    for _ in range(2):
        with pytest.raises(StorageError, match="that was replaced"), engine.ledger.transaction():
            pass
    database._server = database._server._replace(history="1/0000000F")
    with engine.ledger.transaction():
        assert engine.ledger.counts() == {}


def test_a_server_without_a_free_connection_may_have_one_later(engine: Engine) -> None:
    shared = postgres_server.shared_queue()
    schema = address.parse(shared).schema
    _execute(f"CREATE ROLE few LOGIN CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA {schema} TO few")
    _execute("GRANT SELECT ON queued.meta TO few")
    few = shared.replace("tester@", "few@")
    try:
        with closing(PostgresLedger(few)), pytest.raises(BusyError, match="has none left"):
            PostgresLedger(few)
        eventually(lambda: _connects(few))
    finally:
        _execute("DROP OWNED BY few; DROP ROLE few")


def _connects(url: str) -> bool:
    with suppress(BusyError), closing(PostgresLedger(url)):
        return True
    return False


_INSTANCE = Instance("i", "host", 1, "1", NOW, None, host_id="there", lease_s=15)


def test_claims_of_a_commit_without_answer_are_undone(engine: Engine) -> None:
    """The job of one of them was cancelled meanwhile."""
    jobs = [engine.add(), engine.add()]
    runner = TurnRunner(engine.ledger, "i")
    with engine.ledger.transaction():
        assert len(_claims(engine.ledger, 2, 100)) == 2
    assert engine.store.cancel(jobs[0], now_ms=NOW) is State.PROCESSING
    runner.on_rollback(CommitUnknownError("no answer"))
    pool = Mock(claims=ClaimTable([]), inbox=[])
    with engine.ledger.transaction():
        runner.turn(pool, DEFAULTS, queues=NO_QUEUES, restoring=False, now_ms=NOW)
    assert [engine.store.show(job).label for job in jobs] == [Label.CANCELLED, Label.PENDING]


def test_jobs_that_another_dispatcher_has_locked_do_not_hide_those_of_another_lane(
    engine: Engine,
) -> None:
    urgent = [engine.add(priority=1), engine.add(priority=1)]
    job, other = engine.add(requires="gpu"), engine.another_ledger()
    with engine.ledger.transaction(), other.transaction():
        assert [one.key.job for one in _claims(engine.ledger, 2, 100)] == urgent
        claims = other.claim("j", [1, 2], 200, now_ms=NOW, shares=[Share(lanes=[0, 1])])
    assert [one.key.job for one in claims] == [job]


def test_two_dispatchers_do_not_fill_a_limited_queue_at_the_same_moment(engine: Engine) -> None:
    for _ in range(4):
        engine.add()
    engine.store.queues.change("default", concurrency=2)
    shares, other = [Share(limited=True)], engine.another_ledger()
    with engine.ledger.transaction(), other.transaction():
        assert len(engine.ledger.claim("i", [1], 100, now_ms=NOW, shares=shares)) == 1
        assert other.claim("j", [1, 2], 200, now_ms=NOW, shares=shares) == []
    with other.transaction():
        assert len(other.claim("j", [1, 2], 300, now_ms=NOW, shares=shares)) == 1


def test_a_limit_that_another_dispatcher_uses_is_looked_at_again_later(engine: Engine) -> None:
    """A turn at once would find it locked again, and so on without a pause."""
    engine.store.enqueue([NewJob("true")] * 2, max_retries=3, now_ms=NOW)
    engine.store.queues.change("default", concurrency=2)
    other = PostgresLedger(postgres_server.as_role(postgres_server.shared_queue(), "service"))
    queues = OpenQueues({"default": (0,)}, {"default": Policy(limited=True)}, {"default": 2})
    pool = Mock(claims=ClaimTable([]), inbox=[], present=lambda: [1])
    runner, at_once = TurnRunner(other, "j"), Mock()

    def turn() -> Turn:
        at_once.reset_mock()
        with other.transaction():
            return runner.turn(pool, DEFAULTS, queues=queues, restoring=False, now_ms=NOW)

    with closing(other):
        other._database.listen(at_once, Mock())
        with engine.ledger.transaction():
            engine.ledger.claim("i", [1], 100, now_ms=NOW, shares=[Share(limited=True)])
            assert turn().claimed == []  # it asks for notifications, so that another turn follows
            assert turn().next_due_ms == NOW + 100
            assert not at_once.called
        found = turn()
    assert (len(found.claimed), found.next_due_ms) == (1, None)


def test_a_claim_that_is_undone_tells_others_of_the_free_place(engine: Engine) -> None:
    engine.add()
    engine.store.queues.change("default", concurrency=1)
    other = engine.another_ledger()
    with other.transaction():
        other.register(_INSTANCE._replace(id="j"), now_ms=NOW)
        other.set_hungry("j", hungry=True)
    other._database.listen(heard := Mock(), Mock())  # type: ignore[attr-defined]
    with engine.ledger.transaction():
        engine.ledger.queues.all()
    claim = engine.must_claim()
    with engine.ledger.transaction():
        engine.ledger.unclaim(claim.key, now_ms=NOW)

    def told() -> bool:
        other._database.receive()  # type: ignore[attr-defined]
        return heard.called

    eventually(told)


def test_the_limit_of_a_queue_without_a_ready_job_is_not_locked(engine: Engine) -> None:
    engine.store.cancel(engine.add(queue="mail"), now_ms=NOW)
    engine.store.queues.change("mail", concurrency=1)
    shares, other = plain_shares(engine.ledger), engine.another_ledger()
    with engine.ledger.transaction():
        assert engine.ledger.claim("i", [1], 100, now_ms=NOW, shares=shares) == []
        job = engine.add(queue="mail")
        with other.transaction():
            claims = other.claim("j", [1], 200, now_ms=NOW, shares=shares)
    assert [one.key.job for one in claims] == [job]


def test_a_due_job_that_another_dispatcher_has_locked_is_looked_at_again_later(
    engine: Engine,
) -> None:
    engine.add(run_at_ms=NOW + 10)
    other = engine.another_ledger()
    with engine.ledger.transaction(), other.transaction():
        engine.ledger.promote(now_ms=NOW + 20, limit=10)
        assert other.promote(now_ms=NOW + 20, limit=10) == NOW + 120


def test_lanes_that_are_made_at_the_same_time_are_committed_in_their_order(engine: Engine) -> None:
    other = engine.another_ledger()

    def enqueue_second() -> None:
        with other.transaction():
            other.enqueue([NewJob("true", queue="second")], max_retries=3, now_ms=NOW)

    user = threading.Thread(target=enqueue_second)
    with engine.ledger.transaction():
        engine.ledger.enqueue([NewJob("true", queue="first")], max_retries=3, now_ms=NOW)
        user.start()
        eventually(lambda: _waiting(engine))
    user.join()
    with engine.ledger.transaction():
        lanes = [(lane.number, lane.queue) for lane in engine.ledger.lanes(after=0)]
    assert lanes == [(1, "first"), (2, "second")]
