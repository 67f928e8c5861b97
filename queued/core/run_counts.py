"""Where recorded runs are counted: in the totals of all runs, and in the minutes of their ends."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from queued.core.run_periods import MINUTE_MS
from queued.core.run_stats import bucket
from queued.core.run_totals import bucket as upper_bound
from queued.core.settlement import Settlement

Columns = dict[str, str | int]  # of a row
Group = tuple[str, str]  # a queue and a result
_NO_TOTAL = [0, 0, 0]  # runs and the sums of their waits and durations
_NO_RUNS = [0, 0, 0, 0]  # runs, retries, CPU time, memory


class Place(NamedTuple):
    """Where a wait or a duration is counted."""

    le: int  # see `run_totals`
    bucket: int  # see `run_stats`


@lru_cache(4096)
def place_of(ms: int | None) -> Place:
    """Returns where a wait or a duration is counted; None if it is not known."""
    return Place(upper_bound(ms), bucket(ms))


class RunCounts:
    """The sums of recorded runs."""

    def __init__(self, settled: Iterable[Settlement], now_ms: int) -> None:
        self._totals: dict[tuple[Group, int, int], list[int]] = defaultdict(_NO_TOTAL.copy)
        self._minutes: dict[tuple[int, Group, str, int], list[int]] = defaultdict(_NO_RUNS.copy)
        for one in settled:
            self._add(one, now_ms)

    def _add(self, run: Settlement, now_ms: int) -> None:
        ending, waited_ms = run.ending, run.waited_ms
        group = (run.claim.queue, run.result)
        waited, ran = place_of(waited_ms), place_of(ending.ran_ms)
        total = self._totals[group, waited.le, ran.le]
        total[0] += 1
        total[1] += waited_ms or 0
        total[2] += ending.ran_ms or 0
        ended_ms = now_ms if ending.ended_ms is None else ending.ended_ms
        minute = ended_ms - ended_ms % MINUTE_MS
        if waited_ms is not None:
            self._minutes[minute, group, "wait", waited.bucket][0] += 1
        sums = self._minutes[minute, group, "run", ran.bucket]
        sums[0] += 1
        sums[1] += run.is_retry
        sums[2] += ending.cpu_ms or 0
        sums[3] = max(sums[3], ending.peak_kib or 0)

    def totals(self, instance: str) -> Iterator[Columns]:
        """Yields the rows that the runs add to the totals of an instance."""
        for ((queue, result), waited_le, ran_le), (runs, waited_ms, ran_ms) in self._totals.items():
            yield {
                "instance": instance,
                "queue": queue,
                "result": result,
                "waited_le": waited_le,
                "ran_le": ran_le,
                "runs": runs,
                "waited_ms": waited_ms,
                "ran_ms": ran_ms,
            }

    def minutes(self) -> Iterator[Columns]:
        """Yields the rows that the runs add to the minutes of their ends."""
        for (begins_at, (queue, result), measure, place), sums in self._minutes.items():
            runs, retries, cpu_ms, peak_kib = sums
            yield {
                "begins_at": begins_at,
                "queue": queue,
                "result": result,
                "measure": measure,
                "bucket": place,
                "runs": runs,
                "retries": retries,
                "cpu_ms": cpu_ms,
                "peak_kib": peak_kib,
            }
