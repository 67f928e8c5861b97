"""The cost of many queues: the claim of a dispatcher with one queue and with 1,000."""

import random
import tempfile
import time
from contextlib import closing

from queued.core import times
from queued.core.fair_share import Policy
from queued.core.model import NewJob
from queued.service.dispatcher.queue_claims import OpenQueues, QueueClaims
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.bench.measure import Row, Size, at_most, disk, median
from tests.bench.scale import back

_MANY = 1000


def many(size: Size) -> list[Row]:
    """Measures claims of eight jobs with many queues that all have ready jobs."""
    got = [_claims_s(size, _MANY) / _claims_s(size, 1) for _ in range(size.pairs)]
    return [at_most(f"claim from {_MANY:,} queues with ready jobs", "from one", median(got), 2)]


def _claims_s(size: Size, queues: int) -> float:
    """Eight claims and their release in a transaction each, as the dispatcher's turns do it."""
    with tempfile.TemporaryDirectory(dir=disk()) as directory:
        path, now = f"{directory}/queue.db", times.now_ms()
        with closing(SqliteStore(path)) as store:
            jobs = [NewJob("true", queue=f"q{n % queues}") for n in range(8 * _MANY)]
            store.enqueue(jobs, max_retries=3, now_ms=now)
        with closing(SqliteLedger(path, BusyHandler())) as ledger:
            with ledger.transaction():
                found = ledger.lanes(after=-1)
            lanes: dict[str, tuple[int, ...]] = {one.queue: (one.number,) for one in found}
            opened = OpenQueues(lanes, dict.fromkeys(lanes, Policy()), {})
            claiming = QueueClaims(ledger, "bench")
            began = time.perf_counter()
            for _ in range(max(10, size.jobs // 10)):
                with ledger.transaction():
                    token = random.getrandbits(62)
                    claims = claiming.claim(opened, range(8), 8, token, now_ms=now)
                with ledger.transaction():
                    ledger.settle([back(claim) for claim in claims], now_ms=now)
            return time.perf_counter() - began
