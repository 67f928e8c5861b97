"""What users do to queues while a torture runs: pauses, suspensions and drains; what they see."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from queued.core import times
from queued.core.errors import BusyError
from queued.core.model import Label
from queued.core.records import Job, JobFilter
from tests.service import Queue
from tests.torture.history import Drain, Run, Suspension, Wait
from tests.torture.load import QUEUES, WEIGHTS
from tests.torture.suspensions import Watch


class QueueActions:
    """The dice choose a queue, and what is done to it. `done` counts that."""

    def __init__(
        self,
        queue: Queue,
        traces: Path,
        dice: random.Random,
        done: Counter[str],
        lease_s: float,
    ) -> None:
        self._lease_s = lease_s
        self.pauses: list[tuple[str, int, dict[Run, int]]] = []
        self.suspensions: list[Suspension] = []
        self.drains: list[Drain] = []
        self.passed: list[Wait] = []
        self._queue = queue
        self._traces = traces
        self._dice = dice
        self._done = done
        # Until when, since when, and the claims at the beginning.
        self._paused: dict[str, tuple[float, int, dict[Run, int]]] = {}
        self._watch: Watch | None = None  # of a suspension that has not ended
        self._draining: dict[str, tuple[float, int]] = {}  # until when, and since when
        self._shut: set[str] = set()  # queues that may still drain, though that is over
        self._ready_ms: dict[str, int] = {}  # since when each job could have been claimed

    def pause(self) -> None:
        """Pauses a queue for a while, unless it is paused."""
        self._pause(self._dice.choice(list(QUEUES)), suspended_ms=None)

    def suspend(self) -> None:
        """Suspends the queue with the most running jobs for a while, unless one is suspended."""
        if self._watch is not None:
            return
        running = Counter(
            job.queue
            for job in self._queue.store.list(JobFilter((Label.PROCESSING,)))
            if job.queue in QUEUES and job.queue not in self._paused
        )
        for name, _ in running.most_common(1):
            self._watch = Watch(self._queue, name, self._traces, self._lease_s)
            self._pause(name, suspended_ms=times.now_ms())

    def _pause(self, name: str, suspended_ms: int | None) -> None:
        if name in self._paused:
            return
        self._ready_ms.clear()
        now_ms = times.now_ms()
        try:
            self._queue.store.queues.change(name, paused_ms=now_ms, suspended_ms=suspended_ms)
        except BusyError:  # a stuck service may still claim
            self._watch = None if suspended_ms is not None else self._watch
            self._open(name)
            return
        until_s = time.monotonic() + self._dice.uniform(0.1, 2)
        self._paused[name] = (until_s, times.now_ms(), self._claims(name))
        self._done["pause" if suspended_ms is None else "suspend"] += 1

    def suspending(self) -> bool:
        """Returns whether a queue is suspended, or its runs have not been seen to go on."""
        return self._watch is not None

    def watch(self) -> None:
        """Looks at the runs of the suspended queue, which stays so for a while once they froze."""
        if (watch := self._watch) is None:
            return
        waited = watch.waits
        watch.look()
        if waited and not watch.waits:
            until_s = time.monotonic() + self._dice.uniform(0.1, 5)
            self._paused[watch.name] = (until_s, *self._paused[watch.name][1:])
        if watch.seen is not None:
            self.suspensions.append(watch.seen)
            self._done["runs seen frozen"] += len(watch.seen.runs)
            self._watch = None

    def _claims(self, queue: str) -> dict[Run, int]:
        """Returns the runs of a queue, each with the time of its claim."""
        running = list(self._queue.store.list(JobFilter((Label.PROCESSING,), queue=queue)))
        last = self._queue.store.last_attempts(running)
        return {
            (job.id, job.runs): run.started_ms
            for job in running
            if (run := last.get(job.seq))  # None if its first claim was undone meanwhile
            and (run.number, run.ended_ms) == (job.runs, None)
        }

    def resume(self, now_s: float) -> None:
        """Ends the pauses that have lasted long enough, a suspension after all runs were frozen."""
        for name in [name for name, (until_s, *_) in self._paused.items() if until_s <= now_s]:
            watch = self._watch if self._watch and self._watch.name == name else None
            if watch is not None and watch.waits:
                continue
            _, since_ms, known = self._paused.pop(name)
            claims = self._claims(name)
            new = {run: claims[run] for run in claims.keys() - known.keys()}
            self.pauses.append((name, since_ms, new))
            if watch is not None:
                watch.resume()
            self._open(name)

    def _open(self, name: str) -> None:
        """Ends a pause, of which a stuck service may hear later."""
        with contextlib.suppress(BusyError):
            self._queue.store.queues.change(name, paused_ms=None, suspended_ms=None)

    def drain(self) -> None:
        """Lets a queue take no new jobs for a while, unless one drains."""
        if not self._draining:
            self._drain(self._dice.choice(list(QUEUES)), self._dice.uniform(0.1, 2))

    def _drain(self, name: str, seconds: float) -> None:
        self._shut.add(name)
        self._queue.store.queues.change(name, draining_ms=times.now_ms())
        self._shut.remove(name)
        self._draining[name] = (time.monotonic() + seconds, times.now_ms())
        self._done["queue drain"] += 1

    def drain_all(self) -> None:
        """Lets no queue take new jobs: those that wait must still come to their end."""
        for name in QUEUES.keys() - self._draining:
            self._drain(name, float("inf"))

    def end_drains(self, now_s: float) -> None:
        """Ends the drains that have lasted long enough."""
        for name, (until_s, since_ms) in list(self._draining.items()):
            if until_s <= now_s:
                del self._draining[name]
                self.drains.append(Drain(name, since_ms, times.now_ms()))
                self._shut.add(name)
        for name in list(self._shut):
            with contextlib.suppress(BusyError):  # tried again
                self._queue.store.queues.change(name, draining_ms=None)
                self._shut.remove(name)

    def look_at(self, jobs: Sequence[Job]) -> None:
        """Notes for how long jobs of the queues with weights could have been claimed."""
        now_ms = times.now_ms()
        ready = {job.id: job.queue for job in jobs if self._is_ready(job)}
        for name in self._ready_ms.keys() - ready.keys():
            del self._ready_ms[name]
        for name, queue in ready.items():
            since_ms = self._ready_ms.setdefault(name, now_ms)
            self.passed.append(Wait(name, queue, since_ms, now_ms))

    def _is_ready(self, job: Job) -> bool:
        claimable = job.label is Label.PENDING and job.key is None
        return claimable and job.queue in WEIGHTS and job.queue not in self._paused
