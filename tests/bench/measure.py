"""What all benchmarks share: a row of the table, a service to load, and medians."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import apsw

from queued.core import times
from queued.core.model import NewJob
from queued.store.sqlite.client_store import SqliteStore

T = TypeVar("T")


class Row(NamedTuple):
    """One line of the table. `value` is what `goal` speaks of; None: it could not be measured."""

    what: str
    yardstick: str
    value: float | None
    goal: str
    detail: str = ""
    met: bool | None = None


class Size(NamedTuple):
    """How much is done: the full benchmark, or a short form that only shows that it works."""

    jobs: int
    pairs: int
    long_s: float  # of what is to be seen for a minute
    scale: int
    enqueues: int
    samples: int


FULL = Size(jobs=5000, pairs=5, long_s=60, scale=10_000_000, enqueues=100_000, samples=200)
SHORT = Size(jobs=60, pairs=1, long_s=1, scale=10_000, enqueues=500, samples=5)


def median(samples: list[float]) -> float:
    """The middle one."""
    return statistics.median(samples)


def percentile(samples: list[float], share: float) -> float:
    """The sample that `share` (0 to 1) of all do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(run: Callable[[], object]) -> float:
    """How many seconds it takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratios(
    pairs: int, yardstick: Callable[[], float], *ours: Callable[[], float]
) -> list[list[float]]:
    """yardstick / ours in seconds, in alternation, for each of ours: above 1 means it is faster."""
    rounds = [
        [yardstick_s / run() for run in ours] for yardstick_s in (yardstick() for _ in range(pairs))
    ]
    return [list(got) for got in zip(*rounds, strict=True)]


def disk() -> str:
    """Where benchmarks keep their files: a real disk, not the memory that /tmp may be."""
    return os.environ.get("BENCH_DIR", "/var/tmp")  # noqa: S108 - private directories in it


@contextmanager
def place() -> Iterator[str]:
    """A directory on a real disk, gone afterwards. `BENCH_DIR` says where."""
    directory = tempfile.mkdtemp(prefix="queued-bench.", dir=disk())
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def service(database: str, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real service with its log in a file, ready when this returns."""
    with open(f"{database}.bench-log", "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "queued", "--db", database, "--workers", str(workers),
                "--log-format", "json",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_until(lambda: b"service.ready" in read(f"{database}.bench-log"))
        yield process
        assert process.poll() is None, "the service ended early"
    finally:
        process.terminate()
        process.wait()


def read(path: str) -> bytes:
    """The whole file."""
    with open(path, "rb") as file:
        return file.read()


def wait_until(look: Callable[[], bool], every_s: float = 0.05, within_s: float = 300) -> None:
    """Looks until it is true."""
    for _ in every(every_s, "what does not come", within_s):
        if look():
            return


def every(seconds: float, what: str, within_s: float = 300) -> Iterator[None]:
    """Yields now and every so often; raises TimeoutError in the end."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        yield
        time.sleep(seconds)
    msg = f"the benchmark waits for {what}"
    raise TimeoutError(msg)


def fill(database: str, count: int, command: str = "true") -> SqliteStore:
    """A new database with so many jobs."""
    store = SqliteStore(database)
    jobs = (NewJob(command) for _ in range(count))
    store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())
    return store


def completed(store: SqliteStore) -> int:
    """How many jobs are."""
    return next(
        n for label, n in store.status(now_ms=times.now_ms()).counts.items() if label == "completed"
    )


def drain_s(workers: int, count: int) -> float:
    """Seconds from the first start to the last end, for `count` jobs `true`."""
    return drained(workers, count, span_s)


def drained(workers: int, count: int, measure: Callable[[str], T]) -> T:
    """What `measure` says of the database when so many workers have run so many jobs `true`."""
    with place() as directory:
        database = os.path.join(directory, "queue.db")
        store = fill(database, count)
        with service(database, workers):
            wait_until(lambda: completed(store) == count, every_s=0.2)  # who looks takes time, too
        store.close()
        return measure(database)


def span_s(database: str) -> float:
    """Seconds between the first start and the last end in the database, on the wall clock."""
    connection = apsw.Connection(database, flags=apsw.SQLITE_OPEN_READWRITE)
    row = connection.execute("SELECT min(started_at), max(ended_at) FROM attempts").fetchone()
    connection.close()
    first, last = row or (0, 0)
    return max(1, int(last) - int(first)) / 1000


def xargs_s(count: int) -> float:
    """Seconds that `xargs -P2 -n1 sh -c true` takes for as many."""
    numbers = "\n".join(map(str, range(count))).encode()
    return timed(
        lambda: subprocess.run(
            ["xargs", "-P2", "-n1", "sh", "-c", "true"], input=numbers, check=True
        )
    )


def verdict(
    value: float | None, *, least: float | None = None, most: float | None = None
) -> bool | None:
    """Whether a goal is met."""
    if value is None:
        return None
    return (least is None or value >= least) and (most is None or value <= most)
