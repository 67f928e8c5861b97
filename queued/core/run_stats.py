"""Statistics of runs in bounded memory: counts, sums, and quantiles that err by 3 % at most."""

import math
from typing import NamedTuple

from queued.core.model import Outcome

_PER_DECADE = 40  # buckets; one is 6 % wide
UNKNOWN = -1  # the bucket of a duration that is not known, because a crash has ended the run
_NOT_FAILED = {"deferred", Outcome.CANCELLED, Outcome.INTERRUPTED, Outcome.EXPIRED}


class EndedRun(NamedTuple):
    """What statistics need of a run that has ended."""

    ended_ms: int
    job: int
    number: int
    queue: str
    command: str
    outcome: str
    exit_code: int | None
    deferrals: int
    waited_ms: int | None
    ran_ms: int | None
    cpu_ms: int | None
    peak_kib: int | None
    labels: str | None = None  # of the job, as it is stored

    @property
    def result(self) -> str:
        """Returns `completed`, `deferred`, or else the outcome."""
        if self.outcome == Outcome.EXIT and self.exit_code == 0:
            return "completed"
        return "deferred" if self.deferrals else self.outcome


class StatsPart(NamedTuple):
    """Runs of a group with one result whose wait, or whose duration, is in one bucket.

    `measure` is `wait` or `run`. Each run is counted once as a run, with its retries, CPU time and
    memory, and once as a wait, unless it has none.
    """

    group: str
    result: str
    measure: str
    bucket: int
    runs: int
    retries: int
    cpu_ms: int
    peak_kib: int


def bucket(ms: int | None) -> int:
    """Returns the bucket of a duration; less than a millisecond counts as one."""
    if ms is None:
        return UNKNOWN
    return int(_PER_DECADE * math.log10(ms)) if ms > 1 else 0


class Durations:
    """The distribution of durations; its size does not grow with their number."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._count = 0

    def add(self, bucket: int, count: int = 1) -> None:
        """Adds durations of a bucket."""
        self._counts[bucket] = self._counts.get(bucket, 0) + count
        self._count += count

    def quantile_s(self, fraction: float) -> float | None:
        """Returns the seconds that this fraction of the durations does not exceed, if any."""
        left = fraction * self._count
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return round(10 ** ((bucket + 0.5 * (bucket > 0)) / _PER_DECADE) / 1000, 4)
        return None


class RunStats:
    """The statistics of some runs."""

    def __init__(self) -> None:
        self.runs = self.completed = self.failed = self.retries = self.cpu_ms = self.peak_kib = 0
        self.waits, self.times = Durations(), Durations()

    def add(self, run: EndedRun) -> None:
        """Adds a run."""
        result = run.result
        retries = int(run.number > 1 and result != Outcome.EXPIRED)
        self._add_runs(result, 1, retries, run.cpu_ms or 0, run.peak_kib or 0)
        if run.waited_ms is not None:
            self.waits.add(bucket(run.waited_ms))
        if run.ran_ms is not None:
            self.times.add(bucket(run.ran_ms))

    def add_part(self, part: StatsPart) -> None:
        """Adds the runs, or the waits, of a part."""
        if part.measure == "wait":
            self.waits.add(part.bucket, part.runs)
            return
        self._add_runs(part.result, part.runs, part.retries, part.cpu_ms, part.peak_kib)
        if part.bucket != UNKNOWN:
            self.times.add(part.bucket, part.runs)

    def _add_runs(self, result: str, runs: int, retries: int, cpu_ms: int, peak_kib: int) -> None:
        self.runs += runs
        if result == "completed":
            self.completed += runs
        elif result not in _NOT_FAILED:
            self.failed += runs
        self.retries += retries
        self.cpu_ms += cpu_ms
        self.peak_kib = max(self.peak_kib, peak_kib)

    @property
    def success(self) -> float | None:
        """Returns the share of completed runs in those that completed or failed."""
        judged = self.completed + self.failed
        return self.completed / judged if judged else None
