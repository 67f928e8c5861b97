"""A queue in PostgreSQL: against SQLite, with many rows, beside an old snapshot and enqueuers.

The server and the services share the processors. Without a server or a driver all rows are absent.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from queued.core.model import NewJob
from tests.bench import engines
from tests.bench.measure import (
    Row,
    Size,
    at_least,
    at_most,
    median,
    percentile,
    place,
    quietly,
    ratios,
    span_s,
    timed,
)
from tests.hosts.host import Host
from tests.service import Queue

_INFO = ("--log-level", "info")
_LISTENERS = 40
_SECONDS_FOR_A_STATEMENT = 10
_SETTLING_S = 25.0  # two renewals; with the first one a service reads what there is
_ENQUEUES = """
import json, sys, time
from queued.core.model import NewJob
from queued.core.times import now_ms
from queued.store.postgres.client_store import PostgresStore
from queued.store.postgres.connection import Database
if sys.argv[3] == "silent":
    Database.notify = lambda self, name: None
store = PostgresStore(sys.argv[1])
count, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    store.enqueue([NewJob("true")], max_retries=1, now_ms=now_ms())
    count += 1
print(json.dumps(count))
"""


def on_a_server(size: Size) -> list[Row]:
    """Returns all rows of this module."""
    try:
        from tests import postgres_server

        absent = "" if postgres_server.url() else "apt-get install postgresql"
    except ImportError:
        absent = "pip install '.[postgres]'"
    if absent:
        return [Row("PostgreSQL", "-", None, "-", f"absent: {absent}")]
    return [
        _service(size),
        _start(size),
        _idle(size),
        _queuectl(size),
        _many_rows(size),
        _old_snapshot(size),
        *_enqueuers(size),
    ]


def _url() -> str:
    from tests import postgres_server

    return postgres_server.new_queue(postgres_server.fresh_database)


@contextmanager
def _connected(url: str) -> Iterator[Any]:
    """Yields a connection of the administrator, which sees the tables of the queue."""
    import psycopg

    from queued.store.postgres import address

    where = address.parse(url)
    path = f"-c search_path={where.schema}"
    with psycopg.connect(where.conninfo, autocommit=True, options=path) as connection:
        yield connection


@contextmanager
def _queue(url: str = "") -> Iterator[Queue]:
    """Yields a queue whose services end with the block; without a URL in a new SQLite file."""
    with place() as directory:
        queue = Queue(Path(directory), url)
        try:
            yield queue
        finally:
            queue.close()


def _service(size: Size) -> Row:
    def on_sqlite() -> float:
        with _queue() as queue:
            _run_all(queue, size.jobs)
            return span_s(queue.path)

    def on_postgres() -> float:
        with _queue(_url()) as queue:
            _run_all(queue, size.jobs)
            with _connected(queue.path) as connection:
                statement = "SELECT min(started_at), max(ended_at) FROM attempts"
                first, last = connection.execute(statement).fetchone()
            return max(1, int(last) - int(first)) / 1000

    (got,) = ratios(size.pairs, on_sqlite, on_postgres)
    each = " ".join(f"{ratio:.2f}" for ratio in got)
    what = f"PostgreSQL: {size.jobs} jobs, 8 workers"
    return at_least(what, "SQLite", median(got), 0.75, each)


def _run_all(queue: Queue, jobs: int) -> None:
    queue.add_all(["true"] * jobs)
    queue.serve(*_INFO, workers=8)
    queue.wait_all(jobs, within_s=300)


def _start(size: Size) -> Row:
    """From the return of an enqueue to the first act of its command, less the enqueue itself."""
    commits, starts = [], []
    with _queue(_url()) as queue:
        pipe = queue.file("pipe")
        os.mkfifo(pipe)
        descriptor = os.open(pipe, os.O_RDWR)
        queue.serve(*_INFO, workers=8)
        for _ in range(size.samples):
            commits.append(timed(partial(queue.add, f"echo > {pipe}")))
            starts.append(timed(partial(os.read, descriptor, 10)))
            time.sleep(0.02)  # until the service is idle again
        os.close(descriptor)
    more_ms = 1000 * (percentile(starts, 0.5) - percentile(commits, 0.5))
    detail = f"{1000 * percentile(starts, 0.5):.1f} ms after the enqueue has returned"
    what = "PostgreSQL: enqueue to start, p50, ms more"
    return at_most(what, "an enqueue", more_ms, 10, detail, unit=" ms")


def _idle(size: Size) -> Row:
    """The messages that an idle host sends; a renewal is one."""
    seconds = max(size.long_s, 1)
    with tempfile.TemporaryDirectory() as directory:  # the path of a socket must be short
        host = Host(Path(directory) / "host", _url())
        try:
            host.serve(*_INFO, workers=8)
            time.sleep(min(_SETTLING_S, size.long_s))
            before = host.link.requests
            time.sleep(seconds)
            sent = host.link.requests - before
        finally:
            host.queue.close()
            host.link.close()
    most = 1 + seconds // _SECONDS_FOR_A_STATEMENT
    return at_most(f"PostgreSQL: idle for {seconds:g} s: statements", "-", sent, most)


def _queuectl(size: Size) -> Row:
    program = os.path.join(os.path.dirname(sys.executable), "queuectl")
    run = partial(quietly, program, "--db", _url(), "enqueue", "--", "true")
    run()
    bare = partial(quietly, sys.executable, "-c", "pass")
    got = [
        1 / ratio for ratio in ratios(size.pairs * 5, partial(timed, bare), partial(timed, run))[0]
    ]
    return at_most("PostgreSQL: one queuectl enqueue", "python3 -c pass", median(got), 5)


def _many_rows(size: Size) -> Row:
    """A tenth of the rows of the benchmark `scale`, because a server is slower to fill."""
    rows = size.scale // 10
    large, small = _filled(rows), _filled(1000)
    got = [_claims_s(large, size.jobs) / _claims_s(small, size.jobs) for _ in range(size.pairs)]
    what = f"PostgreSQL: claim and settle, {rows:,} jobs"
    return at_most(what, "at 1,000", median(got), 1.3)


def _filled(rows: int) -> str:
    """Returns the URL of a queue with so many completed jobs."""
    url = _url()
    _enqueue(url, rows)
    with _connected(url) as connection:
        connection.execute("UPDATE jobs SET state = 'completed', ready = false")
        connection.execute("VACUUM ANALYZE jobs")
    return url


def _enqueue(url: str, count: int) -> None:
    from queued.store.postgres.client_store import PostgresStore

    store = PostgresStore(url)
    for first in range(0, count, 100_000):
        jobs = [NewJob("true")] * min(100_000, count - first)
        store.enqueue(jobs, max_retries=3, now_ms=engines.NOW_MS)
    store.close()


def _claims_s(url: str, count: int) -> float:
    """Returns the seconds that it takes to claim and settle so many more jobs."""
    from queued.store.postgres.dispatcher_store import PostgresLedger

    _enqueue(url, count)
    ledger = PostgresLedger(url)
    spent_s = timed(partial(engines.drain, ledger, 64))
    ledger.close()
    return spent_s


def _old_snapshot(size: Size) -> Row:
    """The rate after many claims while another session keeps a transaction open."""

    def late_s(held: Callable[[Any], Any]) -> float:
        url = _url()
        with _connected(url) as connection, held(connection):
            connection.execute("SELECT count(*) FROM jobs")  # takes the snapshot
            _claims_s(url, 5 * size.jobs)
            return _claims_s(url, size.jobs)

    def transaction(connection: Any) -> Any:
        connection.isolation_level = 3  # REPEATABLE READ: one snapshot for all statements
        return connection.transaction()

    (got,) = ratios(min(size.pairs, 3), partial(late_s, nullcontext), partial(late_s, transaction))
    what = f"PostgreSQL: old snapshot, {5 * size.jobs} claims"
    return at_least(what, "no snapshot", median(got), 0.9)


def _enqueuers(size: Size) -> list[Row]:
    """Eight processes that enqueue singly beside a service that has enough work."""
    seconds = size.long_s / 12
    with _queue(_url()) as queue, ExitStack() as listeners:
        queue.add_all(["sleep 0.05"] * size.jobs * 4)
        queue.serve(*_INFO, workers=8)
        silent = partial(_enqueued, queue.path, seconds, "silent")
        usual = partial(_enqueued, queue.path, seconds, "usual")
        rows = [_against_silent("8 enqueuers", size, silent, usual)]
        for _ in range(_LISTENERS):
            connection = listeners.enter_context(_connected(queue.path))
            connection.execute(f'LISTEN "{_channel(queue.path)}"')
        what = f"8 enqueuers, {_LISTENERS} listeners"
        return [*rows, _against_silent(what, size, silent, usual)]


def _channel(url: str) -> str:
    from queued.store.postgres import address

    return f"{address.parse(url).schema}.changes"


def _against_silent(
    what: str, size: Size, silent: Callable[[], int], usual: Callable[[], int]
) -> Row:
    got = [usual() / silent() for _ in range(size.pairs)]
    return at_least(f"PostgreSQL: {what}", "no NOTIFY", median(got), 0.85)


def _enqueued(url: str, seconds: float, how: str) -> int:
    """Returns how many jobs eight processes enqueue in so many seconds."""
    words = [sys.executable, "-c", _ENQUEUES, url, str(seconds), how]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(8)]
    return sum(int(json.loads(process.communicate()[0])) for process in processes)
