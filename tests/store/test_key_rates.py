"""Rates of keys: how many jobs of a key start in any interval, over all queues and dispatchers."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from queued.core import times
from queued.core.fair_share import Policy
from queued.core.job_changes import JobChanges
from queued.core.model import Label, NewJob, State
from queued.core.rates import Rate
from queued.core.records import JobFilter
from queued.core.runs import Claim
from queued.service.dispatcher.queue_claims import OpenQueues, QueueClaims
from queued.store.ledger import Ledger
from queued.store.postgres.dispatcher_store import PostgresLedger
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.store.engine import FAILED, Engine, plain_shares

MINUTE = 60_000
MOST = 1000  # the largest limit of a key


class Rated:
    """Jobs of the key `k` with a rate for a minute, at a time that the test moves on.

    The clock of SQLite is an argument; that of a server goes on, so that the test moves the starts
    into the past, and cannot tell intervals that differ by less than `edge_ms`.
    """

    def __init__(self, engine: Engine, starts: int) -> None:
        self.engine, self._moved_ms = engine, 0
        self._began_ms = times.now_ms()
        self.edge_ms = 1 if engine.host_clock else 5_000
        self._rate = Rate(starts, MINUTE)

    @property
    def now_ms(self) -> int:
        return self._began_ms + self._moved_ms if self.edge_ms == 1 else times.now_ms()

    def shifted(self, ms: int) -> None:
        self._moved_ms += ms

    def add(self, *names: str, **fields: Any) -> None:
        rated = {"key": "k", "key_limit": MOST, "key_rate": self._rate, **fields}
        jobs = [NewJob("true", name, **rated) for name in names]
        self.engine.store.enqueue(jobs, max_retries=3, now_ms=self.now_ms)

    def later(self, ms: int) -> None:
        ledger = self.engine.ledger
        with ledger.transaction():
            if isinstance(ledger, SqliteLedger):
                self._moved_ms += ms
            else:
                assert isinstance(ledger, PostgresLedger)
                schema = ledger._database.address.schema
                ledger._database.script(f'UPDATE "{schema}".starts SET at = at - {ms}')  # noqa: S608 - of the schema
                ledger._database.script(f'UPDATE "{schema}".rated_keys SET due = due - {ms}')  # noqa: S608 - of the schema

    def claims(
        self, count: int = 9, ledger: Ledger | None = None, *, idle: int = MOST
    ) -> list[Claim]:
        """Promotes and claims, as a turn does."""
        ledger = ledger or self.engine.ledger
        with ledger.transaction():
            ledger.promote(now_ms=self.now_ms, limit=MOST)
            return ledger.claim(
                "i",
                [1] * count,
                77,
                now_ms=self.now_ms,
                shares=plain_shares(ledger),
                idle=idle,
            )

    def started(self, count: int = 9) -> list[str]:
        return [claim.id for claim in self.claims(count)]

    def due_in_ms(self) -> int | None:
        """Promotes; returns after how many milliseconds the next job is due."""
        due_ms = self.engine.promote(now_ms=self.now_ms)
        return None if due_ms is None else due_ms - self.now_ms

    def give_back(self, claim: Claim) -> bool:
        with self.engine.ledger.transaction():
            return self.engine.ledger.unclaim(claim.key, now_ms=self.now_ms)

    def broken(self) -> list[Any]:
        """Returns what breaks an invariant."""
        database = self.engine.ledger._database  # type: ignore[attr-defined]
        with self.engine.ledger.transaction():
            return [
                row
                for name in ("check_starts", "check_rated_keys", "check_keys", "check_lines")
                for row in database.rows(name)
            ]

    def remembered(self) -> Sequence[int]:
        """Returns how many rows of starts and of keys there are."""
        ledger = self.engine.ledger
        tables = ("starts", "rated_keys")
        if isinstance(ledger, SqliteLedger):
            rows = [[*ledger._database._connection.execute(f"SELECT * FROM {t}")] for t in tables]  # noqa: S608 - see above
        else:
            assert isinstance(ledger, PostgresLedger)
            server, schema = ledger._database._connection, ledger._database.address.schema
            rows = [[*server.execute(f'SELECT * FROM "{schema}".{t}'.encode())] for t in tables]  # noqa: S608 - see above
        return [len(one) for one in rows]


def test_no_interval_has_more_starts_of_a_key_than_the_rate(engine: Engine) -> None:
    key = Rated(engine, 3)
    key.add("a", "b", queue="mail")
    key.add("c", "d", "e", "f", "g")
    engine.add(id="free", now_ms=key.now_ms)
    first = {*key.started(1)}
    key.later(20_000)
    first.update(key.started())
    assert first == {"a", "b", "c", "free"}
    assert key.claims(ledger=engine.another_ledger()) == []
    assert {job.id for job in engine.jobs(Label.BLOCKED)} == {"d", "e", "f", "g"}
    key.later(MINUTE - 20_000 - key.edge_ms)
    assert key.started() == []
    key.later(key.edge_ms + 20_000)
    assert key.started() == ["d", "e", "f"]
    assert key.started() == []
    key.later(MINUTE)
    assert key.started() == ["g"]
    assert key.broken() == []


def test_each_start_leaves_its_window_by_itself(engine: Engine) -> None:
    key = Rated(engine, 3)
    key.add(*"abcdefgh")
    assert key.started(1) == ["a"]
    key.later(20_000)
    assert key.started() == ["b", "c"]
    key.later(MINUTE - 20_000)
    assert key.started() == ["d"], "the first start is a minute ago, the next two are not"
    key.later(20_000)
    assert key.started() == ["e", "f"]
    assert key.broken() == []


def test_promote_returns_when_the_next_start_is_allowed(engine: Engine) -> None:
    key = Rated(engine, 2)
    key.add("a", "b")
    assert key.started(1) == ["a"]
    key.later(30_000)
    assert key.started(1) == ["b"]
    key.add("c")
    assert engine.ledger.queues.take_retry_ms() is not None, "another turn finds out"
    due_ms = key.due_in_ms()
    assert due_ms is not None
    late_ms = due_ms - 30_000
    assert late_ms == 0 if engine.host_clock else abs(late_ms) < 20_000
    found = engine.store.queues.key_window("k")
    assert found is not None
    assert (found[0], abs(found[1] - key.now_ms - due_ms) < key.edge_ms) == (Rate(2, MINUTE), True)
    with engine.ledger.transaction():
        assert [engine.ledger.queues.rate_waits(lanes) for lanes in ([], [0], [7])] == [0, 1, 0]
    key.later(30_000)
    assert key.started() == ["c"]
    assert engine.store.queues.key_window("k") is None


def test_a_ready_job_counts_for_the_time_of_the_next_start(engine: Engine) -> None:
    key = Rated(engine, 3)
    key.add("a")
    assert key.started() == ["a"]
    key.later(20_000)
    key.add("b", "c", "d")
    assert key.started(1) == ["b"]
    due_ms = key.due_in_ms()
    assert due_ms is not None
    assert abs(due_ms - (MINUTE - 20_000)) < max(key.edge_ms, 2), "c is ready"


def test_nothing_of_a_key_is_left_after_its_last_window(engine: Engine) -> None:
    key = Rated(engine, 5)
    key.add(*"abc")
    assert key.started() == ["a", "b", "c"]
    due_ms = key.due_in_ms()
    assert due_ms is not None
    assert due_ms > MINUTE - 20_000
    key.later(MINUTE)
    assert key.due_in_ms() is None
    assert key.remembered() == [0, 0]
    key.add("d")
    engine.promote(now_ms=key.now_ms)
    assert key.remembered() == [0, 1], "a job with a rate is ready"
    engine.store.cancel(engine.store.find("d"), now_ms=key.now_ms)
    assert key.due_in_ms() is None
    assert key.remembered() == [0, 0]


def test_the_starts_out_of_the_window_are_forgotten(engine: Engine) -> None:
    key = Rated(engine, 5)
    for number in range(9):
        key.add(str(number))
        assert key.started() == [str(number)]
        key.later(20_000)
    engine.promote(now_ms=key.now_ms)
    assert key.remembered()[0] <= 3
    assert key.broken() == []


def test_retries_are_starts_and_so_are_claims_that_are_undone(engine: Engine) -> None:
    key = Rated(engine, 2)
    key.add("a")
    (claim,) = key.claims()
    engine.end(claim, FAILED, now_ms=key.now_ms)
    key.later(10_000)
    engine.promote(now_ms=key.now_ms + 10_000)
    (again,) = key.claims()
    assert again.key.attempt == 2
    assert key.give_back(again)
    assert engine.store.show(again.key.job).label is Label.BLOCKED
    assert key.started() == []
    key.later(MINUTE - 10_000)
    assert key.started() == ["a"]
    assert key.broken() == []


@pytest.mark.parametrize("how", ["cancelled", "held", "expired", "later"])
def test_a_ready_job_that_does_not_start_leaves_its_start_to_the_next(
    engine: Engine, how: str
) -> None:
    key = Rated(engine, 1)
    key.add("a", **({"expires_at_ms": key.now_ms + 10} if how == "expired" else {}))
    key.add("b")
    job = engine.store.find("a")
    engine.promote(now_ms=key.now_ms)
    assert [one.id for one in engine.jobs(Label.BLOCKED)] == ["b"]
    match how:
        case "cancelled":
            engine.store.cancel_all([job], JobFilter(), now_ms=key.now_ms)
        case "held":
            engine.store.edits.hold([job], now_ms=key.now_ms)
        case "expired":
            with engine.ledger.transaction():
                (claim,) = engine.ledger.expire("i", 5, now_ms=key.now_ms + 10, limit=9)
            engine.end(claim, now_ms=key.now_ms)
        case "later":
            changes = JobChanges(run_at_ms=key.now_ms + 3 * MINUTE)
            engine.store.edits.edit([job], changes, now_ms=key.now_ms)
    assert key.started() == ["b"]
    assert key.started() == []


def test_a_more_urgent_job_takes_the_start_of_a_ready_one(engine: Engine) -> None:
    key = Rated(engine, 1)
    key.add("a")
    engine.promote(now_ms=key.now_ms)
    key.add("urgent", priority=1)
    assert key.started() == ["urgent"]
    assert key.started() == []


def test_the_limit_of_a_key_holds_beside_its_rate(engine: Engine) -> None:
    key = Rated(engine, 3)
    key.add(*"abcdef", key_limit=2)
    first = key.claims()
    assert [claim.id for claim in first] == ["a", "b"]
    assert key.started() == []
    for claim in first:
        engine.end(claim, now_ms=key.now_ms)
    assert key.started() == ["c"]
    key.later(MINUTE)
    assert key.started() == ["d"], "two run"
    assert key.broken() == []


def test_each_job_starts_by_its_own_rate(engine: Engine) -> None:
    key = Rated(engine, 2)
    key.add("a", key_rate=Rate(1, MINUTE))
    key.add("b", "c")
    key.add("plain", key_rate=None)
    key.add("d", key_rate=Rate(3, 10 * MINUTE))
    key.add("e", key_rate=Rate(9, MINUTE))
    assert key.started() == ["a", "b"]
    key.later(MINUTE - key.edge_ms)
    assert key.started() == [], "the first job in line decides"
    key.later(key.edge_ms)
    assert key.started() == ["c", "plain"], "the other starts are remembered for a minute"
    assert key.due_in_ms() is not None
    assert key.broken() == []


def test_a_job_behind_one_without_a_rate_waits_for_ready_jobs(engine: Engine) -> None:
    key = Rated(engine, 1)
    key.add("a")
    engine.promote(now_ms=key.now_ms)
    key.add("plain", key_rate=None)
    key.add("b")
    assert key.started() == ["a", "plain"]
    assert key.started() == []


def test_a_job_behind_one_without_a_rate_waits_for_its_own_rate(engine: Engine) -> None:
    key = Rated(engine, 1)
    key.add("a")
    assert key.started() == ["a"]
    key.add("plain", key_rate=None)
    key.add("b")
    assert key.started() == ["plain"]
    assert key.due_in_ms() is not None
    key.later(MINUTE)
    assert key.started() == ["b"]


def test_a_job_that_waits_for_ready_jobs_waits_for_no_time(engine: Engine) -> None:
    key = Rated(engine, 2)
    key.add("a")
    assert key.started() == ["a"]
    key.add("b")
    key.add("c", key_rate=Rate(1, MINUTE))
    engine.promote(now_ms=key.now_ms)
    assert [one.id for one in engine.jobs(Label.BLOCKED)] == ["c"]
    assert engine.store.queues.key_window("k") is None
    assert key.started() == ["b"]
    engine.promote(now_ms=key.now_ms)
    assert engine.store.queues.key_window("k") is not None


def test_jobs_without_a_rate_do_not_count(engine: Engine) -> None:
    key = Rated(engine, 1)
    key.add(*"abc", key_rate=None)
    key.add("d", "e")
    key.add("f", key="other")
    assert {*key.started()} == {*"abcdf"}
    assert key.started() == []


def test_many_jobs_get_their_places_at_once(engine: Engine) -> None:
    key = Rated(engine, 150)
    key.add(*(f"a{number}" for number in range(200)), key_limit=MOST)
    assert len(key.claims(MOST)) == 150
    assert key.claims(MOST) == []
    key.later(MINUTE)
    assert len(key.claims(MOST)) == 50
    assert key.broken() == []


def test_a_worker_that_is_busy_gets_no_job_of_a_key_with_a_rate(engine: Engine) -> None:
    key = Rated(engine, 9)
    key.add(*"abcd")
    for name in "xyz":
        engine.add(id=name, now_ms=key.now_ms)
    first = key.claims(6, idle=2)
    assert [claim.id for claim in first][:2] == ["a", "b"]
    assert {claim.id for claim in first} & {*"cd"} == set()
    assert [claim.key.token for claim in first] == list(range(77, 77 + len(first)))
    assert {*key.started()} >= {*"cd"}


def test_a_dispatcher_fetches_no_such_job_in_advance(engine: Engine) -> None:
    key = Rated(engine, 9)
    key.add(*"abc")
    key.engine.add(id="free", now_ms=key.now_ms)
    opened = OpenQueues({"default": (0,)}, {"default": Policy()}, {})
    with engine.ledger.transaction():
        engine.ledger.promote(now_ms=key.now_ms, limit=9)
        claims = QueueClaims(engine.ledger, "i").claim(
            opened, [1, 2, 2, 2, 2], 1, 77, now_ms=key.now_ms
        )
    assert [(claim.id, claim.worker) for claim in claims] == [("a", 1), ("free", 2)]


def test_dispatchers_at_once_start_no_more_than_the_rate(engine: Engine) -> None:
    key = Rated(engine, 50)
    key.add(*(f"a{number}" for number in range(90)))
    key.add(*(f"b{number}" for number in range(9)), key="other", key_rate=Rate(5, MINUTE))
    started = Counter[str]()
    lock = threading.Lock()

    def serve() -> None:
        ledger = engine.another_ledger()
        for number in range(60):
            claims = key.claims(3, ledger)
            with lock:
                started.update(claim.id[:1] for claim in claims)
            if number % 7 == 0 and claims:
                with ledger.transaction():
                    ledger.unclaim(claims[0].key, now_ms=key.now_ms)

    servers = [threading.Thread(target=serve) for _ in range(3)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert key.claims() == []
    assert started == {"a": 50, "b": 5}
    assert key.broken() == []


@pytest.mark.parametrize("shift_ms", [3_600_000, -10_000, -3_600_000])
def test_a_clock_that_is_set_neither_stops_a_key_nor_starts_more(
    engine: Engine, shift_ms: int
) -> None:
    key = Rated(engine, 1)
    key.add(*"abc")

    def shift(offset_ms: int) -> int:
        with engine.ledger.transaction():
            return engine.ledger.shift_clock(boot_id="one", offset_ms=offset_ms, tolerance_ms=50)

    assert shift(0) == 0
    assert key.started() == ["a"]
    key.later(30_000)
    engine.promote(now_ms=key.now_ms)
    key.shifted(shift(shift_ms))
    assert key.started() == []
    due_ms = key.due_in_ms()
    assert due_ms is not None
    assert 30_000 <= due_ms < 30_000 + key.edge_ms if engine.host_clock else due_ms > 20_000
    key.later(30_000 - key.edge_ms)
    assert key.started() == []
    key.later(key.edge_ms)
    assert key.started() == ["b"]


def test_starts_in_the_future_count_as_made_now(engine: Engine) -> None:
    """The clock was set back while no service ran."""
    key = Rated(engine, 1)
    key.add(*"abc")
    assert key.started() == ["a"]
    engine.promote(now_ms=key.now_ms)
    key.later(-3_600_000)
    assert key.started() == []
    due_ms = key.due_in_ms()
    assert due_ms is not None
    assert due_ms <= MINUTE + key.edge_ms - 1
    key.later(MINUTE - key.edge_ms)
    assert key.started() == []
    key.later(key.edge_ms)
    assert key.started() == ["b"]
    assert key.broken() == []


def test_a_rate_that_no_dispatcher_has_looked_at_is_kept(engine: Engine) -> None:
    """The starts of a claim count at once, also before the next turn."""
    key = Rated(engine, 2)
    key.add(*"abcd")
    one, other = engine.another_ledger(), engine.another_ledger()
    assert [claim.id for claim in key.claims(1, one)] == ["a"]
    assert [claim.id for claim in key.claims(1, other)] == ["b"]
    assert key.claims(1, one) == key.claims(1, other) == []
    assert engine.store.show(engine.store.find("a")).state is State.PROCESSING
