"""Lets a run read the wall clock again at its deadline, and whenever the clock was set.

The time limit of a run is a monotonic time. That clock neither moves when the wall clock is set nor
counts the time in which the machine sleeps, so that the limit may be wrong then.
"""

from collections.abc import Callable

from queued.core import times
from queued.service.ipc.messages import Run
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.timers import WallTimer
from queued.service.worker.execution import Execution


class DeadlineAlarm:
    """The alarm for the deadline of a run. `current` returns the run of the worker."""

    def __init__(self, loop: EventLoop, current: Callable[[], Execution | None]) -> None:
        self._loop = loop
        self._current = current
        self._timer: WallTimer | None = None

    def set(self, run: Run) -> None:
        """Sets the alarm for the deadline of the run, unless that is over or there is none."""
        if run.options.deadline is None:
            return
        at_ms = times.parse_when(run.options.deadline)
        if at_ms > times.now_ms():
            self._opened().set(at_ms)

    def _opened(self) -> WallTimer:
        if self._timer is None:
            self._timer = WallTimer()
            self._loop.add(self._timer.fileno(), self._ring)
        return self._timer

    def _ring(self) -> None:
        self._opened().clear()
        if (execution := self._current()) is not None:
            execution.read_clock()
            self.set(execution.run)
