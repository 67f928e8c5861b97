"""Requests a turn at a time of the queue's wall clock, when a job becomes due or old."""

from collections.abc import Iterable

from queued.service.dispatcher.poll_schedule import PollSchedule
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.timers import WallTimer
from queued.store.ledger import Ledger


class Alarm:
    """The wall timer of a dispatcher."""

    def __init__(self, ledger: Ledger, loop: EventLoop, schedule: PollSchedule) -> None:
        self._ledger = ledger
        self._schedule = schedule
        self._timer = WallTimer()
        loop.add(self._timer.fileno(), self._on_time)

    def set(self, times_ms: Iterable[int | None]) -> None:
        """Sets the timer to the first of these times; None stands for no time."""
        wakes_ms = [time_ms for time_ms in times_ms if time_ms is not None]
        self._timer.set(self._ledger.host_ms(min(wakes_ms, default=None)))

    def _on_time(self) -> None:
        self._timer.clear()
        self._schedule.requested = True
