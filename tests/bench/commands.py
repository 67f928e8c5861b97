"""The waits of a user: for queuectl, and for the start of a job on an idle service."""

import json
import os
import sys
import time
from functools import partial

import apsw

from queued.core import ids, times
from queued.core.model import NewJob
from queued.store.sqlite.client_store import SqliteStore
from tests.bench.measure import (
    Row,
    Size,
    at_most,
    median,
    percentile,
    place,
    quietly,
    service,
    timed,
)


def one_enqueue(size: Size) -> list[Row]:
    """`queuectl enqueue` as a multiple of starting Python."""
    program = os.path.join(os.path.dirname(sys.executable), "queuectl")
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        run = partial(quietly, program, "--db", database, "enqueue", "--", "true")
        run()
        got = []
        for _ in range(size.pairs * 5):
            bare = timed(partial(quietly, sys.executable, "-c", "pass"))
            got.append(timed(run) / bare)
    return [at_most("one queuectl enqueue", "python3 -c pass", median(got), 3.5)]


def many_enqueues(size: Size) -> list[Row]:
    """`queuectl enqueue -` as a multiple of bare inserts in one transaction."""
    lines = "".join(json.dumps({"command": f"echo {n}"}) + "\n" for n in range(size.enqueues))
    got = []
    for _ in range(size.pairs):
        with place() as directory:
            database = os.path.join(directory, "queue.db")
            SqliteStore(database).close()
            bare = timed(partial(_bare_inserts, database, size.enqueues))
            words = (sys.executable, "-m", "queued.ctl", "--db", database, "enqueue", "-")
            got.append(timed(partial(quietly, *words, input=lines, text=True)) / bare)
    return [at_most(f"enqueue - with {size.enqueues} lines", "bare apsw inserts", median(got), 3)]


def _bare_inserts(database: str, count: int) -> None:
    """Inserts the same rows into the same table with apsw alone."""
    connection = apsw.Connection(database)
    connection.execute("PRAGMA synchronous = FULL")
    now = times.now_ms()
    rows = (
        (name, "default", 0, f"echo {n}", "{}", "pending", 1, now, 0, 3, 0, now, now)
        for n, name in enumerate(ids.make(count))
    )
    with connection:
        connection.executemany(
            "INSERT INTO jobs (id, queue, priority, command, options, state, ready, next_run_at,"
            " attempts, max_retries, runs, created_at, updated_at)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            rows,
        )
    connection.close()


def start_latency(size: Size) -> list[Row]:
    """From the commit of an enqueue to the command's first act, less the same by posix_spawn."""
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        pipe = os.path.join(directory, "pipe")
        os.mkfifo(pipe)
        descriptor = os.open(pipe, os.O_RDWR)
        command = f"echo > {pipe}"
        store = SqliteStore(database)
        ours, bare = [], []
        with service(database, 8):
            for _ in range(size.samples):
                bare.append(_spawned_ms(command, descriptor))
                store.enqueue([NewJob(command)], max_retries=1, now_ms=times.now_ms())
                start = time.perf_counter()
                os.read(descriptor, 10)
                ours.append((time.perf_counter() - start) * 1000)
                time.sleep(0.01)  # until the service is idle again
        store.close()
        os.close(descriptor)
    rows = []
    for share, goal in ((0.50, 3), (0.99, 10)):
        more = percentile(ours, share) - percentile(bare, share)
        detail = f"{percentile(ours, share):.1f} ms against {percentile(bare, share):.1f} ms"
        what = f"enqueue to start, p{share * 100:.0f}, ms more"
        rows.append(at_most(what, "posix_spawn", more, goal, detail, unit=" ms"))
    return rows


def _spawned_ms(command: str, descriptor: int) -> float:
    start = time.perf_counter()
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], dict(os.environ))
    os.read(descriptor, 10)
    spent = (time.perf_counter() - start) * 1000
    os.waitpid(pid, 0)
    return spent
