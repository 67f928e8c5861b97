"""The queue of runs that a worker was sent ahead of time."""

from collections import deque

from queued.core import times
from queued.core.model import Key
from queued.service.ipc.messages import QUICK_S, Run

_PATIENCE = 1.5  # times QUICK_S is the longest that a run waits in the queue


class PrefetchQueue:
    """The runs that wait for the current one to end, each with the time of its arrival."""

    def __init__(self) -> None:
        self._runs: deque[tuple[Run, float]] = deque()

    def add(self, run: Run, now_s: float) -> None:
        """Appends a run."""
        self._runs.append((run, now_s))

    def pop(self) -> Run | None:
        """Removes and returns the next run; None if there is none."""
        return self._runs.popleft()[0] if self._runs else None

    def keys(self) -> list[Key]:
        """Returns the claims of all runs that wait."""
        return [run.key for run, _ in self._runs]

    def drop(self, key: Key) -> bool:
        """Removes the run of that claim; returns whether it was there."""
        count = len(self._runs)
        self._runs = deque(held for held in self._runs if held[0].key != key)
        return len(self._runs) < count

    @property
    def give_back_at_s(self) -> float:
        """When the oldest has waited too long (monotonic seconds); never if the queue is empty."""
        return self._runs[0][1] + QUICK_S * _PATIENCE if self._runs else times.NEVER_S
