"""The schedules of a torture. All of them fire every minute, and some begin in the past."""

import random
from collections import Counter
from pathlib import Path

from queued.core import times
from queued.core.schedules import Overlap, Schedule, new_schedule
from tests.service import Queue
from tests.torture.history import Places, traced

MINUTE_MS = 60_000
ALONE = (Overlap.SKIP, Overlap.QUEUE)  # no two jobs of such a schedule run at once
_MOST = 6  # schedules that fire at a time


class Schedules:
    """The dice choose what is done to schedules. `done` counts that."""

    def __init__(self, queue: Queue, traces: Path, dice: random.Random, done: Counter[str]) -> None:
        self.run: set[str] = set()  # the ids of the jobs of `schedule run`
        self._queue = queue
        self._traces = traces
        self._dice = dice
        self._done = done
        self._first_ms: dict[str, int] = {}
        self._firing: list[Schedule] = []

    def change(self) -> None:
        """Adds a schedule, edits or runs one of them, or pauses the oldest for good."""
        if len(self._firing) == _MOST:
            self._pause(self._firing.pop(0))
        elif not self._firing or self._dice.random() < 0.5:
            self._add()
        else:
            schedule = self._dice.choice(self._firing)
            edits = schedule.overlap in ALONE or self._dice.random() < 0.5
            (self._edit if edits else self._run)(schedule)

    def _add(self) -> None:
        name = f"s{len(self._first_ms)}"
        overlap = self._dice.choice(list(Overlap))
        sleep_s = self._dice.uniform(0, 0.4)
        command = f"sleep {sleep_s:.2f}; {self._dice.choice(['true', 'exit 3'])}"
        alone = [Places(name, "4")] if overlap in ALONE else []
        payload = {
            "command": traced(self._traces, command, *alone),
            "max_retries": 2,
            "backoff_max": 0.1,
            "timeout": 3,
            "kill_grace": 0.3,
        }
        catch_up = self._dice.choice(["all", "all", "last"])
        schedule = new_schedule(
            name, "* * * * *", "UTC", payload, catch_up=catch_up, overlap=overlap
        )
        begin_ms = times.now_ms() - self._dice.randint(0, 20) * MINUTE_MS
        self._queue.store.schedules.add(schedule, now_ms=begin_ms)
        self._first_ms[name] = begin_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS
        self._firing.append(schedule)
        self._done["schedule add"] += 1

    def _edit(self, schedule: Schedule) -> None:
        self._queue.store.schedules.edit(schedule, now_ms=times.now_ms())
        self._done["schedule edit"] += 1

    def _run(self, schedule: Schedule) -> None:
        store = self._queue.store.schedules
        self.run.add(store.run(schedule.name, max_retries=2, now_ms=times.now_ms()))
        self._done["schedule run"] += 1

    def _pause(self, schedule: Schedule) -> None:
        self._queue.store.schedules.pause(schedule.name, now_ms=times.now_ms())

    def ended(self) -> bool:
        """Pauses each schedule that is not due, or waits for a job; returns whether all are."""
        for schedule in [one for one in self._firing if not self._is_late(one)]:
            self._pause(schedule)
            self._firing.remove(schedule)
        return not self._firing

    def _is_late(self, schedule: Schedule) -> bool:
        store = self._queue.store.schedules
        next_ms = store.show(schedule.name).next_ms
        return next_ms is not None and next_ms <= times.now_ms() and not store.jobs(schedule.name)

    def all(self) -> list[tuple[Schedule, int]]:
        """Returns all schedules, each with the first time that it has to fire."""
        stored = self._queue.store.schedules.list()
        return [(schedule, self._first_ms[schedule.name]) for schedule in stored]
