"""How fast jobs run: against xargs, and with more workers."""

import sqlite3
from functools import partial

from tests.bench.measure import (
    Row,
    Size,
    drain_s,
    drained,
    median,
    ratios,
    span_s,
    verdict,
    xargs_s,
)


def against_xargs(size: Size) -> list[Row]:
    """5,000 durable jobs against as many that nobody records; with 8 workers more often.

    Nobody starves: the worker of 8 that had the fewest jobs, as a part of its fair share.
    """
    rows = []
    shares: list[float] = []

    def drain(workers: int) -> float:
        spent_s, share = drained(workers, size.jobs, _span_and_share)
        if workers == 8:
            shares.append(share)
        return spent_s

    often = size._replace(pairs=2 * size.pairs - 1)
    for workers, goal, pairs in ((8, 1.0, often), (4, 0.85, size), (2, 0.70, size)):
        got = ratios(pairs, lambda: xargs_s(size.jobs), partial(drain, workers))
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
    return [*rows, Row("fewest jobs of a worker of 8", "its share", median(shares), "-")]


def _span_and_share(database: str) -> tuple[float, float]:
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT count(*) FROM attempts GROUP BY worker").fetchall()
    connection.close()
    counts = [int(count) for (count,) in rows]
    return span_s(database), min(counts) * 8 / sum(counts) if len(counts) == 8 else 0.0


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
