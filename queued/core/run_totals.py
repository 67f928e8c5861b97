"""The totals of all runs that ever ended, which a purge does not change: counts and histograms."""

from bisect import bisect_left
from typing import NamedTuple

# The upper bounds of the buckets of waits and of durations of runs.
BOUNDS_MS = (
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000,
    7_200_000, 43_200_000, 172_800_000,
)  # fmt: skip
UNBOUNDED = 0  # instead of an upper bound
UNKNOWN = -1  # of runs whose duration is not known, because a crash has ended them


class RunTotal(NamedTuple):
    """The runs of a queue with one result and the same buckets, and the sums of their times.

    `result` is `completed`, `deferred`, or else the outcome of the runs.
    """

    queue: str
    result: str
    waited_le: int  # the upper bound of the bucket, in milliseconds
    ran_le: int
    runs: int
    waited_ms: int
    ran_ms: int


def bucket(ms: int | None) -> int:
    """Returns the upper bound of the bucket of a time; `UNBOUNDED`, `UNKNOWN` if it is None."""
    if ms is None:
        return UNKNOWN
    place = bisect_left(BOUNDS_MS, ms)
    return BOUNDS_MS[place] if place < len(BOUNDS_MS) else UNBOUNDED
