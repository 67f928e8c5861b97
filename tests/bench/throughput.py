"""How fast jobs run: against xargs, with more workers, and beside readers and writers."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from tests.bench.measure import (
    Row,
    Size,
    completed,
    drain_s,
    drained,
    fill,
    median,
    place,
    ratios,
    service,
    span_s,
    verdict,
    wait_until,
    xargs_s,
)


def against_xargs(size: Size) -> list[Row]:
    """5,000 durable jobs against as many that nobody records; with 8 workers more often."""
    rows = []
    often = size._replace(pairs=2 * size.pairs - 1)
    for workers, goal, pairs in ((8, 1.0, often), (4, 0.85, size), (2, 0.70, size)):
        got = ratios(pairs, lambda: xargs_s(size.jobs), partial(drain_s, workers, size.jobs))
        value = median(got)
        rows.append(
            Row(
                f"{size.jobs} jobs, {workers} workers",
                "xargs -P2",
                value,
                f">= {goal}",
                " ".join(f"{ratio:.2f}" for ratio in got),
                verdict(value, least=goal),
            )
        )
    return rows


def many_workers(size: Size) -> list[Row]:
    """More workers than cores must not cost much."""
    rows = []
    for workers, goal in ((32, 0.9), (128, 0.7)):
        got = ratios(size, lambda: drain_s(8, size.jobs), partial(drain_s, workers, size.jobs))
        value = median(got)
        rows.append(
            Row(
                f"{workers} workers",
                "our 8 workers",
                value,
                f">= {goal}",
                met=verdict(value, least=goal),
            )
        )
    return rows


def shares(size: Size) -> list[Row]:
    """Nobody starves: the worker with the fewest jobs, as a part of its fair share."""
    got = [drained(8, size.jobs, _smallest_share) for _ in range(size.pairs)]
    return [Row("fewest jobs of a worker of 8", "its share", median(got), "-")]


def _smallest_share(database: str) -> float:
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT count(*) FROM attempts GROUP BY worker").fetchall()
    connection.close()
    counts = [int(count) for (count,) in rows]
    return min(counts) * 8 / sum(counts) if len(counts) == 8 else 0.0


def _loaded_s(
    count: int, beside: Callable[[str, Callable[[], bool]], None]
) -> tuple[float, int, int]:
    """Seconds for `count` jobs while `beside` goes on; the WAL's size at its largest and after."""
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        store = fill(database, count)
        done = threading.Event()
        other = threading.Thread(target=beside, args=(database, done.is_set))
        largest = 0
        other.start()
        with service(database, 8):
            while completed(store) < count:
                largest = max(largest, os.path.getsize(f"{database}-wal"))
                time.sleep(0.02)
            spent_s = span_s(database)  # what follows is the WAL's, and waits for the other
            done.set()
            other.join()
            fill(database, 20).close()
            wait_until(lambda: completed(store) == count + 20)
            after = os.path.getsize(f"{database}-wal")
        store.close()
        return spent_s, largest, after


def _status_loop(database: str, done: Callable[[], bool]) -> None:
    while not done():
        subprocess.run(
            [sys.executable, "-m", "queued.ctl", "--db", database, "status"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        time.sleep(0.5)


def _forgotten_begin(database: str, done: Callable[[], bool]) -> None:
    shell = sqlite3.connect(database, isolation_level=None)
    shell.execute("BEGIN")
    shell.execute("SELECT count(*) FROM settings").fetchone()
    while not done():
        time.sleep(0.05)
    shell.execute("COMMIT")
    shell.close()


def _nobody(_database: str, _done: Callable[[], bool]) -> None:
    return


def beside_readers(size: Size) -> list[Row]:
    """Somebody who looks, or forgot a transaction, must not slow the queue."""
    rows = []
    for name, beside in (
        ("status twice a second", _status_loop),
        ("a forgotten BEGIN", _forgotten_begin),
    ):
        got, largest, after = [], 0, 0
        for _ in range(size.pairs):
            alone, _, _ = _loaded_s(size.jobs, _nobody)
            loaded, most, left = _loaded_s(size.jobs, beside)
            got.append(alone / loaded)
            largest, after = max(largest, most), max(after, left)
        value = median(got)
        detail = f"WAL {largest >> 20} MiB at most, {after >> 20} MiB afterwards"
        rows.append(
            Row(
                f"load beside {name}",
                "load alone",
                value,
                ">= 0.9",
                detail,
                verdict(value, least=0.9),
            )
        )
    return rows


def beside_enqueuers(size: Size) -> list[Row]:
    """Eight processes that enqueue singly beside full load: none waits long and none fails."""
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        store = fill(database, size.jobs)
        code = (
            "import sys,time\n"
            "from queued.store.sqlite import SqliteStore\n"
            "from queued.core.model import NewJob\n"
            "s=SqliteStore(sys.argv[1]); worst=0.0\n"
            "for _ in range(int(sys.argv[2])):\n"
            "    t=time.monotonic(); s.enqueue([NewJob('true')],max_retries=1,now_ms=1)\n"
            "    worst=max(worst,time.monotonic()-t)\n"
            "print(worst)"
        )
        each = max(1, size.jobs // 40)
        with service(database, 8):
            processes = [
                subprocess.Popen(
                    [sys.executable, "-c", code, database, str(each)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for _ in range(8)
            ]
            answers = [process.communicate() for process in processes]
            failed = sum(process.returncode != 0 for process in processes)
            wait_until(lambda: completed(store) == size.jobs + 8 * each)
        store.close()
    worst = max(float(out) for out, _ in answers if out)
    return [
        Row("8 enqueuers beside load: longest wait", "-", worst, "<= 1 s", f"{failed} failed",
            verdict(worst, most=1.0) and failed == 0)
    ]  # fmt: skip
