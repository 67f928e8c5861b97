"""The schedules of the reference queue."""

from collections.abc import Callable
from dataclasses import dataclass

from queued.core.model import State
from tests.store.reference_task import Task

EVERY = 1_800_000  # ms between two times of a schedule


@dataclass
class Timer:
    """A schedule of the reference queue."""

    catch_up: str
    overlap: str
    next: int
    last: int | None = None
    paused: bool = False
    fired: int = 0
    skipped: int = 0


class Schedules:
    """Schedules by name. `enqueue` and `cancel` are those of the queue, whose jobs are `tasks`."""

    def __init__(
        self,
        tasks: dict[int, Task],
        enqueue: Callable[..., int],
        cancel: Callable[[int, int], State | None],
    ) -> None:
        self.timers: dict[str, Timer] = {}
        self._tasks = tasks
        self._enqueue = enqueue
        self._cancel = cancel

    def add(self, name: str, catch_up: str, overlap: str, now: int) -> None:
        self.timers[name] = Timer(catch_up, overlap, _next_after(now))

    def resume(self, name: str, now: int) -> None:
        self.timers[name].paused, self.timers[name].next = False, _next_after(now)

    def fire(self, rows: dict[tuple[str, int], int], now: int) -> None:
        """Fires what is due. `rows`: the row of the job for each schedule and time, taken out."""
        for name, timer in self.timers.items():
            if timer.last is not None and timer.last > now + 3 * 3_600_000:
                timer.next, timer.last = _next_after(now), None
            waits = timer.overlap == "queue" and self._live(name)
            if timer.next > now or timer.paused or waits:
                continue
            due = [*range(timer.next, now + 1, EVERY)][-100 if timer.catch_up == "all" else -1 :]
            if timer.catch_up == "none":
                due = [at for at in due if now - at <= 60_000]
            timer.next = _next_after(now)
            if timer.overlap == "queue" and len(due) > 1:
                timer.next = due[1]
                del due[1:]
            timer.last = max(due, default=timer.last)
            for at in due:
                self._fire(name, timer, at, rows, now)

    def _fire(
        self, name: str, timer: Timer, at: int, rows: dict[tuple[str, int], int], now: int
    ) -> None:
        if any((t.schedule, t.scheduled) == (name, at) for t in self._tasks.values()):
            return
        live = self._live(name)
        if live and timer.overlap == "skip":
            timer.skipped += 1
            return
        for seq in live if timer.overlap == "replace" else ():
            self._cancel(seq, now)
        self._enqueue(rows.pop((name, at)), queue="a", now=now, schedule=name, scheduled=at)
        timer.fired += 1

    def _live(self, name: str) -> list[int]:
        return [task.seq for task in self._tasks.values() if task.schedule == name and task.live]


def _next_after(now: int) -> int:
    return now // EVERY * EVERY + EVERY
