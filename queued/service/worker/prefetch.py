"""The queue of runs that a worker was sent ahead of time."""

from collections import deque

from queued.core import times
from queued.core.runs import HeldRun, Key
from queued.service.ipc.messages import QUICK_S, Input, Run

# In units of QUICK_S: the longest wait of a run behind one other run, and in the queue in all.
_PATIENCE = 1.5
_MOST_PATIENCE = 5


class PrefetchQueue:
    """The runs that wait for the current one to end, each with the time of its arrival."""

    def __init__(self) -> None:
        self._runs: deque[tuple[Run, float]] = deque()
        self._inputs: dict[Key, bytes] = {}  # of runs that have not begun

    def add(self, run: Run, now_s: float) -> None:
        """Appends a run."""
        self._runs.append((run, now_s))

    def add_input(self, piece: Input) -> None:
        """Keeps a piece of the standard input of a run, which comes before the run."""
        self._inputs[piece.key] = self._inputs.get(piece.key, b"") + piece.content

    def forget_incomplete(self) -> None:
        """Forgets inputs whose run will not come, because their dispatcher has died."""
        self._inputs = {key: self._inputs[key] for key in self.keys() if key in self._inputs}

    def take_input(self, key: Key) -> bytes:
        """Removes and returns the standard input of a run that begins; empty if it has none."""
        return self._inputs.pop(key, b"")

    def pop(self) -> Run | None:
        """Removes and returns the next run; None if there is none."""
        return self._runs.popleft()[0] if self._runs else None

    def keys(self) -> list[Key]:
        """Returns the claims of all runs that wait."""
        return [run.key for run, _ in self._runs]

    def held(self) -> list[HeldRun]:
        """Returns the same with the names of the jobs."""
        return [run.held for run, _ in self._runs]

    def drop(self, key: Key) -> HeldRun | None:
        """Removes the run of that claim and returns it; None if it was not there."""
        self._inputs.pop(key, None)
        found = next((run.held for run, _ in self._runs if run.key == key), None)
        self._runs = deque(waiting for waiting in self._runs if waiting[0].key != key)
        return found

    def give_back_at_s(self, began_s: float) -> float:
        """Returns when the runs must be given back (monotonic seconds); never if there are none.

        `began_s` is when the current run began.
        """
        if not self._runs:
            return times.NEVER_S
        arrived_s = self._runs[0][1]
        return min(
            max(began_s, arrived_s) + QUICK_S * _PATIENCE, arrived_s + QUICK_S * _MOST_PATIENCE
        )
