"""Claims and records over PostgreSQL, against other queues on the same server.

Each has jobs that do nothing, which its own workers take 64 at once, in one process and in four. A
peer that is not installed is reported as absent.
"""

import importlib.util
import json
import subprocess
import sys
from functools import partial
from typing import Any, NamedTuple

from tests.bench.measure import Row, Size, at_least, median, ratios

_BEGIN = "import asyncio, json, sys, time\nurl, count = sys.argv[1], int(sys.argv[2])\n"
_END = """
async def main():
    if count:
        return await fill()
    begun_s = time.monotonic()
    await drain()
    print(json.dumps([begun_s, time.monotonic()]))
asyncio.run(main())
"""
_OURS = """
from queued.core.model import NewJob
from queued.store.postgres.client_store import PostgresStore
from queued.store.postgres.dispatcher_store import PostgresLedger
from tests.bench import engines
async def fill():
    PostgresStore(url).enqueue([NewJob("true")] * count, max_retries=3, now_ms=engines.NOW_MS)
ledger = None if count else PostgresLedger(url)
async def drain():
    engines.drain(ledger, 64)
"""
_PROCRASTINATE = """
import procrastinate
from queued.store.postgres import address
connector = procrastinate.PsycopgConnector(conninfo=address.parse(url).conninfo)
app = procrastinate.App(connector=connector)
@app.task(name="nothing")
async def nothing():
    pass
async def fill():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for _ in range(0, count, 1000):
            await nothing.batch_defer_async(*[{}] * min(count, 1000))
async def drain():
    async with app.open_async():
        await app.run_worker_async(wait=False, concurrency=64, install_signal_handlers=False)
"""
_PGQUEUER = """
import psycopg
from pgqueuer import PgQueuer
from pgqueuer.db import PsycopgDriver
from pgqueuer.types import QueueExecutionMode
from queued.store.postgres import address
async def opened():
    where = address.parse(url).conninfo
    connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
    return PgQueuer(PsycopgDriver(connection)), connection
async def fill():
    queue, connection = await opened()
    async with connection:
        await queue.qm.queries.install()
        await queue.qm.queries.enqueue(["nothing"] * count, [None] * count, [0] * count)
async def drain():
    queue, connection = await opened()
    @queue.entrypoint("nothing")
    async def nothing(job):
        pass
    async with connection:
        await queue.qm.run(batch_size=64, mode=QueueExecutionMode.drain)
"""


class _Goal(NamedTuple):
    """How many times as fast as a peer we want to be, and how many processes each has."""

    peer: str
    script: str
    processes: int
    least: float


_GOALS = (
    _Goal("procrastinate", _PROCRASTINATE, 1, 10),
    _Goal("pgqueuer", _PGQUEUER, 1, 3),
    _Goal("pgqueuer", _PGQUEUER, 4, 2),
)


def ahead_of_each(size: Size) -> list[Row]:
    """Compares claims and records with each peer in turn."""
    return [_against(goal, size) for goal in _GOALS]


def _against(goal: _Goal, size: Size) -> Row:
    what = f"claim and settle 64, processes: {goal.processes}"
    missing = [name for name in ("psycopg", goal.peer) if importlib.util.find_spec(name) is None]
    if missing:
        packages = " ".join(missing)
        return Row(what, goal.peer, None, f">= {goal.least:g}", f"absent: pip install {packages}")
    from tests import postgres_server

    if postgres_server.url() is None:
        absent = "absent: apt-get install postgresql"
        return Row(what, goal.peer, None, f">= {goal.least:g}", absent)
    theirs = partial(_drained_s, goal.script, goal.processes, size.jobs)
    ours = partial(_drained_s, _OURS, goal.processes, size.jobs)
    (got,) = ratios(min(size.pairs, 3), theirs, ours)
    each = " ".join(f"{ratio:.1f}" for ratio in got)
    return at_least(what, goal.peer, median(got), goal.least, each)


def _drained_s(script: str, processes: int, jobs: int) -> float:
    """Returns the seconds that so many processes take for the jobs, without their start."""
    from tests import postgres_server

    url = postgres_server.new_queue(postgres_server.fresh_database)
    words = [sys.executable, "-c", _BEGIN + script + _END, url]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    subprocess.run([*words, str(jobs)], check=True, **options)
    started = [subprocess.Popen([*words, "0"], **options) for _ in range(processes)]
    spans = [json.loads(process.communicate()[0]) for process in started]
    begins, ends = zip(*spans, strict=True)
    return float(max(ends) - min(begins))
