"""The cost of many queues and keys: the turns of a dispatcher with many of them."""

import random
import tempfile
import time
from contextlib import closing

from queued.core import times
from queued.core.fair_share import Policy
from queued.core.model import NewJob, Outcome, State
from queued.core.runs import Claim, Ending
from queued.core.settlement import Settlement, Verdict
from queued.service.dispatcher.queue_claims import OpenQueues, QueueClaims
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.bench.measure import Row, Size, at_most, disk, median
from tests.bench.scale import back

_MANY = 1000


def many(size: Size) -> list[Row]:
    """Measures claims of eight jobs with many queues, of one beside full queues, and with keys."""
    got = [_claims_s(size, _MANY) / _claims_s(size, 1) for _ in range(size.pairs)]
    limited = [_claims_s(size, _MANY, 8) / _claims_s(size, 1, 8) for _ in range(size.pairs)]
    keys, blocked = size.enqueues, size.scale // 10
    beside = _claims_s(size, 1, blocked=blocked) / _claims_s(size, 1)
    of_keys = _turns_s(size, keys) / _turns_s(size, 0)
    what = f"claim beside {blocked:,} jobs, queue full"
    return [
        at_most(f"claim from {_MANY:,} queues with ready jobs", "from one", median(got), 2),
        at_most(f"claim from {_MANY:,} queues with limits", "from one", median(limited), 2),
        at_most(what, "without them", beside, 1.3),
        at_most(f"turn with {keys:,} keys, each with a line", "without keys", of_keys, 2),
    ]


def _turns_s(size: Size, keys: int) -> float:
    """Turns that each record the ends of eight jobs, give the free places on, and claim eight."""
    with tempfile.TemporaryDirectory(dir=disk()) as directory:
        path, now = f"{directory}/queue.db", times.now_ms()
        with closing(SqliteStore(path)) as store:
            names = [f"k{n % keys}" if keys else None for n in range(2 * size.enqueues)]
            jobs = [NewJob("true", key=name) for name in names]
            store.enqueue(jobs, max_retries=3, now_ms=now)
        with closing(SqliteLedger(path, BusyHandler())) as ledger:
            due: int | None = now
            while due is not None:
                with ledger.transaction():
                    due = ledger.promote(now_ms=now, limit=10_000)
            claims: list[Claim] = []
            began = time.perf_counter()
            for turn in range(max(10, size.jobs // 10)):
                with ledger.transaction():
                    ledger.settle([_done(claim) for claim in claims], now_ms=now)
                    ledger.promote(now_ms=now, limit=10_000)
                    claims = ledger.claim("bench", [1] * 8, 8 * turn + 1, now_ms=now)
            return time.perf_counter() - began


def _claims_s(size: Size, queues: int, limit: int | None = None, *, blocked: int = 0) -> float:
    """Eight claims and their release in a transaction each, as the dispatcher's turns do it.

    Each queue may run `limit` jobs; another one, which runs as many as it may, has more ready jobs.
    """
    with tempfile.TemporaryDirectory(dir=disk()) as directory:
        path, now = f"{directory}/queue.db", times.now_ms()
        with closing(SqliteStore(path)) as store:
            jobs = [NewJob("true", queue=f"q{n % queues}") for n in range(8 * _MANY)]
            store.enqueue(jobs, max_retries=3, now_ms=now)
            limits = {f"q{n}": limit for n in range(queues) if limit is not None}
            if blocked:
                limits["full"] = 0
                store.enqueue([NewJob("true", queue="full")] * blocked, max_retries=3, now_ms=now)
            store.queues.change_each({name: {"concurrency": n} for name, n in limits.items()})
        with closing(SqliteLedger(path, BusyHandler())) as ledger:
            with ledger.transaction():
                found = ledger.lanes(after=-1)
            lanes: dict[str, tuple[int, ...]] = {one.queue: (one.number,) for one in found}
            policies = {name: Policy(limited=name in limits) for name in lanes}
            opened = OpenQueues(lanes, policies, limits)
            claiming = QueueClaims(ledger, "bench")
            began = time.perf_counter()
            for _ in range(max(10, size.jobs // 10)):
                with ledger.transaction():
                    token = random.getrandbits(62)
                    claims = claiming.claim(opened, range(8), 8, token, now_ms=now)
                assert len(claims) == 8
                with ledger.transaction():
                    ledger.settle([back(claim) for claim in claims], now_ms=now)
                    for claim in claims:
                        claiming.on_ended(claim.queue)
            return time.perf_counter() - began


def _done(claim: Claim) -> Settlement:
    verdict = Verdict(State.COMPLETED, 0, claim.due_ms, None)
    return Settlement(claim, Ending(Outcome.EXIT, exit_code=0), verdict)
