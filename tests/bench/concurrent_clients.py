"""The cost of clients that read, wait or enqueue beside the load, and how long they wait.

Each client is a process of its own, because connections in one process would share their locks.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

from queued.core import times
from queued.core.model import Label, NewJob
from queued.store.sqlite.client_store import SqliteStore
from tests.bench.measure import (
    Row,
    Size,
    at_least,
    at_most,
    completed,
    every,
    fill,
    median,
    percentile,
    place,
    service,
    span_s,
    wait_until,
)
from tests.open_transaction import FORGETS
from tests.service import python_process

_BACKLOG = 4000
_QUEUECTL = (sys.executable, "-m", "queued.ctl", "--db")
_STATUS = 'while "$0" -m queued.ctl --db "$1" status; do sleep 0.5; done'
_ENQUEUES = """
import json, sys, time
from queued.core.model import NewJob
from queued.core.times import now_ms
from queued.store.sqlite.client_store import SqliteStore
store, end = SqliteStore(sys.argv[1]), time.monotonic() + float(sys.argv[2])
count, worst = 0, 0.0
while (start := time.monotonic()) < end:
    store.enqueue([NewJob("true")], max_retries=1, now_ms=now_ms())
    count, worst = count + 1, max(worst, time.monotonic() - start)
print(json.dumps([count, worst]))
"""
Beside = Callable[[str], AbstractContextManager[object]]


@contextmanager
def _program(*words: str) -> Iterator[None]:
    """Starts the program again and again until the block ends."""
    null = subprocess.DEVNULL
    process = subprocess.Popen(words, stdout=null, stderr=null, start_new_session=True)
    try:
        yield
        assert process.poll() is None, f"ended early: {words}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _status(database: str) -> AbstractContextManager[None]:
    """Runs `queuectl status` every half second."""
    return _program("sh", "-c", _STATUS, sys.executable, database)


def _follow(database: str) -> AbstractContextManager[None]:
    """Runs `queuectl logs --follow` of a pending job."""
    store = SqliteStore(database)
    later = NewJob("true", delay_ms=3_600_000)
    (name,) = store.enqueue([later], max_retries=1, now_ms=times.now_ms())
    store.close()
    return _program(*_QUEUECTL, database, "logs", "--follow", name)


@contextmanager
def _forgotten_begin(database: str) -> Iterator[None]:
    """Keeps a read transaction open."""
    with python_process(FORGETS, database) as shell:
        yield
        assert shell.poll() is None, "the reader ended early"


def beside_readers(size: Size) -> list[Row]:
    """A client that polls, or follows a job, must not slow the queue."""
    others: dict[str, Beside] = {"status again and again": _status, "logs --follow": _follow}
    got: dict[str, list[float]] = {name: [] for name in others}
    largest = dict.fromkeys(others, 0)
    jobs = size.jobs * 3 // 5
    for _ in range(size.pairs):
        alone = _loaded(jobs, nullcontext)
        for name, beside in others.items():
            loaded = _loaded(jobs, beside)
            got[name].append(alone.spent_s / loaded.spent_s)
            largest[name] = max(largest[name], loaded.wal_bytes)
    return [
        _against_alone(name, median(got[name]), f"WAL {largest[name] >> 20} MiB at most")
        for name in others
    ]


def _against_alone(beside: str, value: float, detail: str) -> Row:
    return at_least(f"load beside {beside}", "load alone", value, 0.9, detail)


class _Loaded(NamedTuple):
    spent_s: float
    wal_bytes: int  # the most that there were


def _loaded(count: int, beside: Beside) -> _Loaded:
    """Runs `count` jobs beside a client."""
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        store = fill(database, count)
        largest = 0
        with beside(database), service(database, 8):
            for _ in every(0.1, "the load to end"):
                largest = max(largest, os.path.getsize(f"{database}-wal"))
                if completed(store) == count:
                    break
            spent_s = span_s(database)
        store.close()
        return _Loaded(spent_s, largest)


def beside_a_forgotten_begin(size: Size) -> list[Row]:
    """An endless read transaction slows no job, and the WAL shrinks afterwards."""
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        store = SqliteStore(database)
        wal = partial(os.path.getsize, f"{database}-wal")
        with service(database, 8):
            _rate(store, 1.0)
            before = _rate(store, size.long_s / 12)
            with _forgotten_begin(database):
                during = _rate(store, size.long_s)
                largest = wal()
            _rate(store, 1.0)  # in which the log is moved to where it belongs
            after = _rate(store, size.long_s / 12)
            left = wal()
        store.close()
    detail = f"WAL {largest >> 20} MiB at most, {left >> 20} MiB afterwards"
    ratio = 2 * during / (before + after)
    return [_against_alone(f"a BEGIN of {size.long_s:g} s", ratio, detail)]


def _rate(store: SqliteStore, seconds: float) -> float:
    """Returns jobs per second while the queue never runs empty."""
    first, start = completed(store), time.monotonic()
    while time.monotonic() < start + seconds:
        if store.status(now_ms=times.now_ms()).counts[Label.PENDING] < _BACKLOG:
            jobs = [NewJob("true")] * (_BACKLOG // 2)
            store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())
        time.sleep(0.1)
    return (completed(store) - first) / (time.monotonic() - start)


def beside_enqueuers(size: Size) -> list[Row]:
    """Eight processes that enqueue singly beside full load: their waits, failures and shares."""
    seconds = size.long_s / 6
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        store = fill(database, 6 * size.jobs)
        with service(database, 8):
            wait_until(lambda: completed(store) > 0)
            processes = [
                subprocess.Popen(
                    [sys.executable, "-c", _ENQUEUES, database, str(seconds)],
                    stdout=subprocess.PIPE,
                )
                for _ in range(8)
            ]
            answers = [process.communicate()[0] for process in processes]
            failed = sum(process.returncode != 0 for process in processes)
        store.close()
    counts, waits = zip(*(json.loads(answer or "[0, 0]") for answer in answers), strict=True)
    share = min(counts) * len(counts) / max(1, sum(counts))
    what, rate = "8 enqueuers beside load: longest wait", f"{sum(counts) / seconds:.0f}"
    waited = at_most(what, "-", max(waits), 1, f"{failed} failed", unit=" s")
    return [
        waited._replace(met=waited.met and failed == 0),
        Row("fewest jobs of an enqueuer of 8", "its share", share, "-", f"{rate} a second by all"),
    ]


def beside_a_cancel(size: Size) -> list[Row]:
    """The waits for an enqueue and for the start of its job while a million jobs are cancelled."""
    count = size.scale // 10
    with place() as directory:
        database, pipe = (os.path.join(directory, name) for name in ("queue.db", "pipe"))
        os.mkfifo(pipe)
        descriptor = os.open(pipe, os.O_RDWR)
        store = SqliteStore(database)
        later = [NewJob("true", queue="later", delay_ms=36_000_000)] * count
        store.enqueue(later, max_retries=3, now_ms=times.now_ms())
        with service(database, 2):
            sample = partial(_enqueued_and_started_s, store, f"echo > {pipe}", descriptor)
            alone = [sample() for _ in range(size.samples)]
            words = (*_QUEUECTL, database, "cancel", "--queue", "later", "--yes")
            started_s = time.monotonic()
            with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
                beside = [sample()]
                while process.poll() is None:
                    beside.append(sample())
            spent_s = time.monotonic() - started_s
        store.close()
        os.close(descriptor)
    assert process.returncode == 0
    detail = f"{len(beside)} jobs in the {spent_s:.0f} s of a cancel of {count:,}"
    rows = []
    for at, name in enumerate(("enqueue", "enqueue to start")):
        waits, yardstick = ([pair[at] for pair in pairs] for pairs in (beside, alone))
        more_ms = 1000 * (percentile(waits, 0.99) - percentile(yardstick, 0.99))
        what = f"{name} beside a cancel, p99, ms more"
        rows.append(at_most(what, "no cancel", more_ms, 50, detail, unit=" ms"))
    return rows


def _enqueued_and_started_s(
    store: SqliteStore, command: str, descriptor: int
) -> tuple[float, float]:
    """Returns how long an enqueue takes, and how long it takes until its command has begun."""
    began_s = time.monotonic()
    store.enqueue([NewJob(command)], max_retries=1, now_ms=times.now_ms())
    enqueued_s = time.monotonic()
    os.read(descriptor, 10)
    return enqueued_s - began_s, time.monotonic() - began_s
