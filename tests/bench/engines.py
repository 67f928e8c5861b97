"""Claims and records of the two engines, without a service: the database alone."""

import os
from collections.abc import Callable, Sequence
from functools import partial

from queued.core.model import NewJob, Outcome, State
from queued.core.runs import Ending
from queued.core.settlement import Settlement, Verdict
from queued.store.ledger import Ledger
from queued.store.protocols import Store
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.bench.measure import Row, Size, median, place, ratios, timed

_WHAT = "PostgreSQL: claim and settle, 64 at once"
NOW_MS = 1_700_000_000_000
_DONE = Verdict(State.COMPLETED, 0, NOW_MS, None)
_OK = Ending(Outcome.EXIT, exit_code=0)


def against_sqlite(size: Size) -> list[Row]:
    """All jobs go through the ledger of PostgreSQL; the yardstick is that of SQLite."""
    goal = ">= 0.5"
    try:
        from queued.store.postgres.client_store import PostgresStore
        from queued.store.postgres.dispatcher_store import PostgresLedger
        from tests import postgres_server
    except ImportError:
        return [Row(_WHAT, "SQLite", None, goal, "absent: pip install '.[postgres]'")]
    if postgres_server.url() is None:
        return [Row(_WHAT, "SQLite", None, goal, "absent: apt-get install postgresql")]

    def on_postgres() -> float:
        url = postgres_server.empty_queue()
        return drain_s(_plain(size.jobs), partial(PostgresStore, url), partial(PostgresLedger, url))

    (got,) = ratios(size.pairs, partial(_on_sqlite, size.jobs), on_postgres)
    value = median(got)
    each = " ".join(f"{ratio:.2f}" for ratio in got)
    return [Row(_WHAT, "SQLite", value, goal, each, value >= 0.5)]


def _on_sqlite(jobs: int) -> float:
    with place() as directory:
        path = os.path.join(directory, "q.db")
        wait = BusyHandler(10)
        return drain_s(
            _plain(jobs), partial(SqliteStore, path, wait), partial(SqliteLedger, path, wait)
        )


def _plain(count: int) -> list[NewJob]:
    return [NewJob("true")] * count


def drain_s(
    jobs: Sequence[NewJob],
    open_store: Callable[[], Store],
    open_ledger: Callable[[], Ledger],
    at_once: int = 64,
) -> float:
    """Returns the seconds that it takes to claim and settle the jobs."""
    store = open_store()
    store.enqueue(jobs, max_retries=3, now_ms=NOW_MS)
    ledger = open_ledger()
    spent_s = timed(partial(drain, ledger, at_once))
    ledger.close()
    store.close()
    return spent_s


def drain(ledger: Ledger, at_once: int) -> None:
    """Turns as a dispatcher makes them, until no job is left."""
    endings: list[Settlement] = []
    token = 1
    while True:
        with ledger.transaction():
            ledger.settle(endings, now_ms=NOW_MS)
            ledger.promote(now_ms=NOW_MS + token, limit=100)
            claims = ledger.claim("i", [*range(at_once)], token, now_ms=NOW_MS + token)
        endings = [Settlement(claim, _OK, _DONE) for claim in claims]
        token += at_once
        if not claims:
            return
