"""The cost of a long queue: the same operations with ten million jobs and with a thousand.

The large database is kept in `BENCH_DIR` (/var/tmp), outside the tree, and made anew when the
schema has changed: a tenth of it ready, a tenth in the future with a higher priority, the rest
completed; 1,000 queues.
"""

import contextlib
import os
import random
import sys
import time
from functools import partial

import apsw

from queued.core import times
from queued.core.model import Outcome, State
from queued.core.runs import Claim, Ending
from queued.core.settlement import Settlement, Verdict
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.bench.measure import Row, Size, at_most, disk, median, quietly, timed

_FILL = """
INSERT INTO jobs (id, queue, priority, command, options, state, ready, next_run_at, attempts,
                  max_retries, runs, created_at, updated_at)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
SELECT printf('%013d', n), 'q' || (n % 1000), (n % 10 = 1) * 5, 'true', '{}',
       CASE WHEN n % 10 < 2 THEN 'pending' ELSE 'completed' END, n % 10 = 0,
       CASE n % 10 WHEN 1 THEN :future ELSE :past + n END, 0, 3, n % 10 >= 2, :past, :past
FROM numbers
"""
_ATTEMPTS = """
INSERT INTO attempts (job, number, instance, worker, started_at, ended_at, outcome, exit_code)
SELECT seq, 1, 'bench', 1, next_run_at, next_run_at, 'exit', 0 FROM jobs WHERE state = 'completed'
"""
_PERIODS = """
INSERT INTO run_periods
SELECT 3600000, next_run_at / 3600000 * 3600000, '', queue, 'completed', measure, seq % 60,
       count(*), 0, 0, 0
FROM jobs, (SELECT 'run' AS measure UNION ALL SELECT 'wait') WHERE state = 'completed'
GROUP BY 2, queue, measure, 7
"""
_DEAD = "UPDATE jobs SET state = 'dead' WHERE state = 'completed' AND seq % 100 = 99"


def flat(size: Size) -> list[Row]:
    """Measures claims, status, lists, metrics and stats at full size and with a thousand jobs."""
    large, small = _database(size.scale), _database(1000)
    commands = (
        ("status",),
        ("list", "--limit", "50"),
        ("dlq", "list", "--limit", "50"),
        ("metrics",),
        ("stats", "--since", "7d", "--by", "queue"),
    )
    return [
        _claims(size, large, small),
        *(_command(size, large, small, words) for words in commands),
    ]


def _database(count: int) -> str:
    directory = os.path.join(disk(), "queued-bench")
    os.makedirs(directory, 0o700, exist_ok=True)
    path = os.path.join(directory, f"{count}.db")
    unfinished = f"{path}.part"
    _remove(unfinished)
    SqliteStore(unfinished).close()
    if os.path.exists(path) and _schema(path) == _schema(unfinished):
        _remove(unfinished)
    else:
        _remove(path)
        _make(unfinished, count)
        os.rename(unfinished, path)
    return path


def _remove(path: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)


def _schema(path: str) -> list[tuple[object, ...]]:
    connection = apsw.Connection(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return rows


def _make(path: str, count: int) -> None:
    """Rows first, then indexes and triggers: an order of magnitude faster, and the same result."""
    print(f"making {path}, which is kept", file=sys.stderr)
    connection = apsw.Connection(path)
    connection.pragma("synchronous", "OFF")
    connection.execute("PRAGMA cache_size = -1000000")
    later = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql <> ''"
    ).fetchall()
    for kind, name, _ in later:
        connection.execute(f"DROP {kind} {name}")
    past = times.now_ms() - 10 * count
    with connection:
        connection.execute(_FILL, {"count": count, "past": past, "future": past * 2})
        connection.execute(_ATTEMPTS)
        connection.execute(_PERIODS)
        connection.execute(_DEAD)
    for _, _, sql in later:
        connection.execute(str(sql))
    connection.execute("INSERT INTO counts SELECT queue, label, count(*) FROM jobs GROUP BY 1, 2")
    connection.close()


def _claims(size: Size, large: str, small: str) -> Row:
    got = []
    for _ in range(size.pairs):
        at_small, at_large = _claims_s(size, small), _claims_s(size, large)
        got.append(at_large / at_small)
    return at_most(f"claim and settle at {size.scale:,} jobs", "at 1,000", median(got), 1.3)


def _claims_s(size: Size, path: str) -> float:
    """Eight claims and their release in a transaction each, as the dispatcher's turns do it."""
    ledger = SqliteLedger(path, BusyHandler())
    now = times.now_ms()

    def turn() -> None:
        with ledger.transaction():
            claims = ledger.claim("bench", range(8), random.getrandbits(62), now_ms=now)
        with ledger.transaction():
            ledger.settle([back(claim) for claim in claims], now_ms=now)

    turn()
    turns = max(10, size.jobs // 10)
    start = time.perf_counter()
    for _ in range(turns):
        turn()
    spent = time.perf_counter() - start
    ledger.close()
    return spent


def back(claim: Claim) -> Settlement:
    """Returns the settlement that makes the job of a claim pending again."""
    verdict = Verdict(State.PENDING, 0, claim.due_ms, None)
    return Settlement(claim, Ending(Outcome.INTERRUPTED), verdict)


def _command(size: Size, large: str, small: str, words: tuple[str, ...]) -> Row:
    got = []
    for _ in range(size.pairs * 2):
        at_small, at_large = (
            timed(partial(quietly, sys.executable, "-m", "queued.ctl", "--db", path, *words))
            for path in (small, large)
        )
        got.append(at_large / at_small)
    return at_most(f"{' '.join(words)} at {size.scale:,} jobs", "at 1,000", median(got), 2)
