"""Parts of all benchmarks: a row of the table, a service to load, medians."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import apsw

from queued.core import times
from queued.core.model import NewJob
from queued.store.sqlite.client_store import SqliteStore
from tests.service import WITHOUT_RICH

T = TypeVar("T")


class Row(NamedTuple):
    """A line of the table. `goal` is about `value`; None if it could not be measured."""

    what: str
    yardstick: str
    value: float | None
    goal: str
    detail: str = ""
    met: bool | None = None


class Size(NamedTuple):
    """The amount of work: of the full benchmark, or of a short one for the tests."""

    jobs: int
    pairs: int
    long_s: float  # of what is to be seen for a minute
    scale: int
    enqueues: int
    samples: int


FULL = Size(jobs=5000, pairs=5, long_s=60, scale=10_000_000, enqueues=100_000, samples=200)
SHORT = Size(jobs=60, pairs=1, long_s=1, scale=10_000, enqueues=500, samples=5)


def median(samples: list[float]) -> float:
    """Returns the median."""
    return statistics.median(samples)


def percentile(samples: list[float], share: float) -> float:
    """Returns the sample that a `share` (0 to 1) of all do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(run: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratios(
    pairs: int, yardstick: Callable[[], float], *ours: Callable[[], float]
) -> list[list[float]]:
    """Returns yardstick / ours for each of ours, measured in turn; above 1, ours is faster."""
    rounds = [
        [yardstick_s / run() for run in ours] for yardstick_s in (yardstick() for _ in range(pairs))
    ]
    return [list(got) for got in zip(*rounds, strict=True)]


def disk() -> str:
    """Returns a directory on a real disk for the files; /tmp may be in memory."""
    return os.environ.get("BENCH_DIR", "/var/tmp")  # noqa: S108 - private directories in it


@contextmanager
def place() -> Iterator[str]:
    """Makes a directory on a real disk (see `disk`), and deletes it at the end."""
    directory = tempfile.mkdtemp(prefix="queued-bench.", dir=disk())
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def service(database: str, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a real service with its log in a file, and waits until it is ready."""
    with open(f"{database}.bench-log", "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "queued", "--db", database, "--workers", str(workers),
                "--log-format", "json",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **WITHOUT_RICH},  # a program for comparison may have installed it
        )  # fmt: skip
    try:
        wait_until(lambda: b"service.ready" in read(f"{database}.bench-log"))
        yield process
        assert process.poll() is None, "the service ended early"
    finally:
        process.terminate()
        process.wait()


def quietly(*words: str, **options: Any) -> None:
    """Runs a program that must succeed, and drops its output."""
    null = subprocess.DEVNULL
    subprocess.run(words, stdout=null, stderr=null, check=True, **options)


def read(path: str) -> bytes:
    """Returns the content of a file."""
    with open(path, "rb") as file:
        return file.read()


def wait_until(look: Callable[[], bool], every_s: float = 0.05, within_s: float = 300) -> None:
    """Waits until `look` returns true."""
    for _ in every(every_s, "what does not come", within_s):
        if look():
            return


def every(seconds: float, what: str, within_s: float = 300) -> Iterator[None]:
    """Yields now and every `seconds`; raises TimeoutError after `within_s`."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        yield
        time.sleep(seconds)
    msg = f"the benchmark waits for {what}"
    raise TimeoutError(msg)


def fill(database: str, count: int, command: str = "true") -> SqliteStore:
    """Makes a database with `count` jobs."""
    store = SqliteStore(database)
    jobs = (NewJob(command) for _ in range(count))
    store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())
    return store


def completed(store: SqliteStore) -> int:
    """Returns how many jobs are completed."""
    return next(
        n for label, n in store.status(now_ms=times.now_ms()).counts.items() if label == "completed"
    )


def drain_s(workers: int, count: int) -> float:
    """Returns the seconds from the first start to the last end of `count` jobs `true`."""
    return drained(workers, count, span_s)


def drained(workers: int, count: int, measure: Callable[[str], T]) -> T:
    """Runs `count` jobs `true`; returns what `measure` returns for the database."""
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        store = fill(database, count)
        with service(database, workers):
            wait_until(
                lambda: completed(store) == count, every_s=0.2
            )  # each status takes CPU time from the service
        store.close()
        return measure(database)


def span_s(database: str) -> float:
    """Returns the seconds between the first start and the last end, on the wall clock."""
    connection = apsw.Connection(database, flags=apsw.SQLITE_OPEN_READWRITE)
    row = connection.execute("SELECT min(started_at), max(ended_at) FROM attempts").fetchone()
    connection.close()
    first, last = row or (0, 0)
    return max(1, int(last) - int(first)) / 1000


def xargs_s(count: int) -> float:
    """Returns the seconds that `xargs -P2 -n1 sh -c true` takes for as many."""
    numbers = "\n".join(map(str, range(count))).encode()
    return timed(
        lambda: subprocess.run(
            ["xargs", "-P2", "-n1", "sh", "-c", "true"], input=numbers, check=True
        )
    )


def at_most(
    what: str, yardstick: str, value: float, most: float, detail: str = "", *, unit: str = ""
) -> Row:
    """Returns a row whose goal is that the value is at most `most`."""
    return Row(what, yardstick, value, f"<= {most:g}{unit}", detail, value <= most)


def at_least(what: str, yardstick: str, value: float, least: float, detail: str = "") -> Row:
    """Returns a row whose goal is that the value is at least `least`."""
    return Row(what, yardstick, value, f">= {least:g}", detail, value >= least)
