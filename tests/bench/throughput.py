"""How fast jobs run: against xargs, and with more workers."""

import sqlite3
from functools import partial
from typing import NamedTuple

from tests.bench.measure import (
    Row,
    Size,
    at_least,
    drain_s,
    drained,
    median,
    ratios,
    span_s,
    xargs_s,
)


def against_xargs(size: Size) -> list[Row]:
    """5,000 durable jobs against as many that are not recorded; 8 workers are measured more often.

    The last row is the share of the worker of 8 that had the fewest jobs, in parts of a fair share.
    """
    shares: list[float] = []

    def drain(workers: int) -> float:
        found = drained(workers, size.jobs, _read_drain)
        if workers == 8:
            shares.append(found.least_share)
        return found.spent_s

    xargs = partial(xargs_s, size.jobs)
    got = ratios(2 * size.pairs - 1, xargs, partial(drain, 8))
    got += ratios(size.pairs, xargs, partial(drain, 4), partial(drain, 2))
    rows = [
        _row(f"{size.jobs} jobs, {workers} workers", "xargs -P2", goal, found)
        for (workers, goal), found in zip(((8, 1.0), (4, 0.85), (2, 0.70)), got, strict=True)
    ]
    return [*rows, Row("fewest jobs of a worker of 8", "its share", median(shares), "-")]


def _row(what: str, yardstick: str, goal: float, got: list[float]) -> Row:
    each = " ".join(f"{ratio:.2f}" for ratio in got)
    return at_least(what, yardstick, median(got), goal, each)


class _Drain(NamedTuple):
    spent_s: float
    least_share: float  # of the fair share of a worker


def _read_drain(database: str) -> _Drain:
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT count(*) FROM attempts GROUP BY worker").fetchall()
    connection.close()
    counts = [int(count) for (count,) in rows]
    least_share = min(counts) * 8 / sum(counts) if len(counts) == 8 else 0.0
    return _Drain(span_s(database), least_share)


def many_workers(size: Size) -> list[Row]:
    """More workers than cores must not cost much."""
    many = ((32, 0.9), (128, 0.7))
    ours = [partial(drain_s, workers, size.jobs) for workers, _ in many]
    got = ratios(size.pairs, partial(drain_s, 8, size.jobs), *ours)
    return [
        _row(f"{workers} workers", "our 8 workers", goal, found)
        for (workers, goal), found in zip(many, got, strict=True)
    ]
