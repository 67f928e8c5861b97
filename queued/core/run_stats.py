"""Statistics of runs in bounded memory: counts, sums, and quantiles that err by 3 % at most."""

import math
from typing import NamedTuple

from queued.core.model import Outcome

_PER_DECADE = 40  # buckets; one is 6 % wide
_NOT_FAILED = {Outcome.CANCELLED, Outcome.INTERRUPTED, Outcome.EXPIRED}


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


class Durations:
    """The distribution of durations; its size does not grow with their number."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._count = 0

    def add(self, ms: int) -> None:
        """Adds a duration in milliseconds; less than one counts as one."""
        bucket = int(_PER_DECADE * math.log10(ms)) if ms > 1 else 0
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self._count += 1

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
        self.runs += 1
        self.completed += result == "completed"
        self.failed += result not in {"completed", "deferred", *_NOT_FAILED}
        self.retries += run.number > 1 and result != Outcome.EXPIRED
        self.cpu_ms += run.cpu_ms or 0
        self.peak_kib = max(self.peak_kib, run.peak_kib or 0)
        if run.waited_ms is not None:
            self.waits.add(run.waited_ms)
        if run.ran_ms is not None:
            self.times.add(run.ran_ms)

    @property
    def success(self) -> float | None:
        """Returns the share of completed runs in those that completed or failed."""
        judged = self.completed + self.failed
        return self.completed / judged if judged else None
