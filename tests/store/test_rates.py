"""Rates: how many jobs of a queue start in any interval, over all dispatchers."""

import threading
from collections import Counter

import pytest

from queued.core import times
from queued.core.records import Share, StartWindow
from queued.core.runs import Claim
from queued.store.ledger import Ledger
from queued.store.postgres.dispatcher_store import PostgresLedger
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.store.engine import FAILED, Engine, plain_shares

MINUTE = 60_000


class Rated:
    """A queue `mail` with a rate, at a time that the test moves on.

    The clock of SQLite is an argument; that of a server goes on, so that the test moves the starts
    into the past, and cannot tell intervals that differ by less than `edge_ms`.
    """

    def __init__(self, engine: Engine, starts: int) -> None:
        self.engine, self.now_ms = engine, times.now_ms()
        self.edge_ms = 1 if engine.host_clock else 5_000
        self.set(starts)

    def set(self, starts: int | None) -> None:
        rate_ms = None if starts is None else MINUTE
        self.engine.store.queues.change("mail", rate_starts=starts, rate_ms=rate_ms)

    def add(self, count: int) -> list[int]:
        return [self.engine.add(queue="mail", now_ms=self.now_ms) for _ in range(count)]

    def later(self, ms: int) -> None:
        ledger = self.engine.ledger
        with ledger.transaction():
            if isinstance(ledger, SqliteLedger):
                self.now_ms += ms
            else:
                assert isinstance(ledger, PostgresLedger)
                schema = ledger._database.address.schema
                ledger._database.script(f'UPDATE "{schema}".starts SET at = at - {ms}')  # noqa: S608 - of the schema

    def claims(self, count: int = 9, ledger: Ledger | None = None) -> list[Claim]:
        ledger = ledger or self.engine.ledger
        with ledger.transaction():
            shares = plain_shares(ledger)
            return ledger.claim("i", [1] * count, 77, now_ms=self.now_ms, shares=shares)

    def started(self, count: int = 9) -> list[int]:
        return [claim.key.job for claim in self.claims(count)]

    def full(self) -> dict[str, StartWindow]:
        with self.engine.ledger.transaction():
            return self.engine.ledger.queues.full_rates(["mail", "other"], self.now_ms)

    def left(self) -> int:
        now_ms = self.now_ms
        return self.engine.store.queues.start_windows(["mail", "a"], now_ms=now_ms)["mail"].left

    def check(self) -> None:
        database = self.engine.ledger._database  # type: ignore[attr-defined]
        with self.engine.ledger.transaction():
            assert database.rows("check_starts") == []


def test_no_interval_has_more_starts_than_the_rate(engine: Engine) -> None:
    mail = Rated(engine, 3)
    jobs = mail.add(9)
    assert mail.left() == 3
    assert mail.started(1) == jobs[:1]
    free = engine.add(now_ms=mail.now_ms)
    mail.later(20_000)
    assert {*mail.started()} == {*jobs[1:3], free}
    assert mail.claims(ledger=engine.another_ledger()) == []
    (window,) = mail.full().values()
    assert (window.left, window.waiting) == (0, True)
    mail.later(MINUTE - 20_000 - mail.edge_ms)
    assert mail.started() == []
    mail.later(mail.edge_ms)
    assert mail.full() == {}
    assert mail.started() == jobs[3:4], "the first start is a minute ago, the next two are not"
    mail.later(MINUTE)
    assert mail.left() == 3
    assert mail.started() == jobs[4:7]
    mail.check()


def test_the_next_start_is_allowed_a_minute_after_the_last_but_the_rate(engine: Engine) -> None:
    mail = Rated(engine, 2)
    mail.add(2)
    assert len(mail.claims(1)) == 1
    mail.later(30_000)
    assert len(mail.claims(1)) == 1
    (window,) = mail.full().values()
    assert window.next_ms is not None
    late_ms = window.next_ms - (mail.now_ms + 30_000)
    assert late_ms == 0 if engine.host_clock else 0 <= late_ms < 20_000
    assert not window.waiting, "no job of the queue is ready"


def test_retries_are_starts_and_so_are_claims_that_are_undone(engine: Engine) -> None:
    mail = Rated(engine, 2)
    (job,) = mail.add(1)
    (claim,) = mail.claims()
    engine.end(claim, FAILED, now_ms=mail.now_ms)
    mail.later(10_000)
    engine.promote(now_ms=mail.now_ms + 10_000)
    (again,) = mail.claims()
    with engine.ledger.transaction():
        assert engine.ledger.unclaim(again.key, now_ms=mail.now_ms)
    assert (again.key.job, mail.left(), mail.started()) == (job, 0, [])
    mail.later(MINUTE - 10_000)
    assert mail.started() == [job]


def test_a_rate_may_be_lowered_raised_and_removed_at_any_time(engine: Engine) -> None:
    mail = Rated(engine, 3)
    mail.add(20)
    assert len(mail.claims(1)) == 1
    mail.later(10_000)
    assert len(mail.claims(2)) == 2
    mail.set(2)
    assert (mail.left(), mail.started()) == (0, [])
    mail.later(MINUTE - 10_000)
    assert (mail.left(), mail.started()) == (0, []), "the two later starts still count"
    mail.set(4)
    assert len(mail.claims()) == 2
    mail.set(None)
    assert mail.full() == {}
    assert len(mail.claims()) == 9


def test_a_rate_that_a_dispatcher_has_not_heard_of_is_kept(engine: Engine) -> None:
    mail = Rated(engine, 1)
    mail.add(2)
    (lane,) = (share.lanes for share in plain_shares_of(engine) if share.queue == "mail")
    assert len(mail.claims()) == 1
    with engine.ledger.transaction():
        for limited in (False, True):
            shares = [Share("mail", lane, limited=limited)]
            assert engine.ledger.claim("i", [1], 7, now_ms=mail.now_ms, shares=shares) == []


def plain_shares_of(engine: Engine) -> list[Share]:
    with engine.ledger.transaction():
        return plain_shares(engine.ledger)


def test_dispatchers_that_claim_at_once_start_no_more_than_the_rate(engine: Engine) -> None:
    mail = Rated(engine, 50)
    mail.add(90)
    started = Counter[int]()

    def serve(place: int) -> None:
        ledger = engine.another_ledger()
        for _ in range(40):
            started[place] += len(mail.claims(3, ledger))

    servers = [threading.Thread(target=serve, args=(place,)) for place in range(2)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert started.total() == 50
    mail.check()


@pytest.mark.parametrize("shift_ms", [3_600_000, -3_600_000])
def test_a_clock_that_is_set_neither_stops_a_queue_nor_starts_more(
    engine: Engine, shift_ms: int
) -> None:
    mail = Rated(engine, 1)
    mail.add(3)

    def shift(offset_ms: int) -> int:
        with engine.ledger.transaction():
            return engine.ledger.shift_clock(boot_id="one", offset_ms=offset_ms, tolerance_ms=50)

    assert shift(0) == 0
    assert len(mail.claims()) == 1
    mail.now_ms += shift(shift_ms)
    assert mail.started() == []
    mail.later(MINUTE - mail.edge_ms)
    assert mail.started() == []
    mail.later(mail.edge_ms)
    assert len(mail.claims()) == 1


def test_starts_in_the_future_count_as_made_now(engine: Engine) -> None:
    """The clock was set back while no service ran."""
    mail = Rated(engine, 1)
    mail.add(3)
    assert len(mail.claims()) == 1
    mail.later(-3_600_000)
    assert mail.started() == []
    assert mail.full()
    mail.later(MINUTE - mail.edge_ms)
    assert mail.full()
    mail.later(mail.edge_ms)
    assert mail.full() == {}
    assert len(mail.claims()) == 1


def test_starts_are_forgotten_after_their_window_and_with_their_queue(engine: Engine) -> None:
    mail = Rated(engine, 5)
    mail.add(9)
    for _ in range(3):
        assert len(mail.claims(1)) == 1
    mail.later(MINUTE)
    assert len(mail.claims(1)) == 1
    mail.later(-MINUTE)
    assert mail.left() == 4, "three are forgotten, and the last one is in the future"
    engine.store.queues.remove("mail")
    mail.set(5)
    assert mail.left() == 5
