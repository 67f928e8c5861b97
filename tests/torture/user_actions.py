"""What users do to jobs and queues while a torture runs, and what they see."""

import contextlib
import random
import time
from collections import Counter
from pathlib import Path

from queued.core import times
from queued.core.errors import BusyError, ConflictError
from queued.core.job_changes import job_changes
from queued.core.model import Label, State
from queued.core.records import Job, JobFilter
from queued.ctl.move import changes_before
from tests.service import Queue
from tests.torture.history import RecordedResult, Run, Suspension
from tests.torture.load import GROUPS, QUEUES
from tests.torture.suspensions import Watch

_LIVE = (Label.PENDING, Label.PROCESSING)
_MOVABLE = (Label.PENDING, Label.SCHEDULED, Label.FAILED)  # an end of another job moves no such job


class UserActions:
    """The dice choose a job or a queue, and what is done to it. `done` counts that."""

    def __init__(
        self,
        queue: Queue,
        traces: Path,
        dice: random.Random,
        done: Counter[str],
        lease_s: float,
    ) -> None:
        self._lease_s = lease_s
        self.cancelled: set[str] = set()
        self.retried: dict[str, list[int]] = {}
        self.died: Counter[str] = Counter()
        self.seen: dict[Run, RecordedResult] = {}
        self.keys: list[tuple[str, list[str]]] = []
        self.holds: list[tuple[str, int, int]] = []
        self.edits: dict[str, list[int]] = {}
        self.hurried: set[str] = set()
        self.pauses: list[tuple[str, int, dict[Run, int]]] = []
        self.moves: list[tuple[Job, Job]] = []
        self.suspensions: list[Suspension] = []
        self._queue = queue
        self._traces = traces
        self._dice = dice
        self._done = done
        self._held: dict[str, int] = {}  # the runs of each job when it was held
        # Until when, since when, and the claims at the beginning.
        self._paused: dict[str, tuple[float, int, dict[Run, int]]] = {}
        self._watch: Watch | None = None  # of a suspension that has not ended

    def change_job(self) -> None:
        """Reads a random job. Retries it if it is dead or cancelled, else changes it sometimes."""
        jobs = list(self._queue.store.list(JobFilter(), limit=80, reverse=True))
        if not jobs:
            return
        self._note_keys(jobs)
        job = self._dice.choice(jobs)
        self._read(job.id, job.seq)
        if job.state in (State.DEAD, State.CANCELLED):
            if job.runs < 12 and job.schedule is None:  # else two firings of it might overlap
                self._retry(job)
        elif self._dice.random() < 0.5:
            release = self._release if job.label is Label.HELD else self._hold
            if self._dice.random() < 0.2:
                self._move(job, jobs)
            else:
                self._dice.choice([self._cancel, self._edit, self._run_now, release])(job)

    def _note_keys(self, jobs: list[Job]) -> None:
        """Notes which of the jobs that wait or run have each unique key until their end."""
        found: dict[str, list[str]] = {}
        for job in jobs:
            live = job.state in (State.PENDING, State.PROCESSING)
            if live and job.unique_key and job.unique_while == "active":
                found.setdefault(job.unique_key, []).append(job.id)
        self.keys += found.items()

    def _read(self, name: str, row: int) -> None:
        for run in self._queue.store.attempts(row):
            if run.ended_ms is not None:
                seen = RecordedResult(
                    job=name,
                    attempt=run.number,
                    outcome=str(run.outcome),
                    exit_code=run.exit_code,
                    signal=run.signal,
                )
                self.seen.setdefault((name, run.number), seen)

    def _retry(self, job: Job) -> None:
        with contextlib.suppress(ConflictError, BusyError):
            self._queue.store.retry([job.seq], now_ms=times.now_ms())
            self.retried.setdefault(job.id, []).append(job.runs)
            self.died[job.id] += job.state is State.DEAD
            self._done["retry"] += 1

    def _cancel(self, job: Job) -> None:
        if self._queue.store.cancel(job.seq, now_ms=times.now_ms()):
            self.cancelled.add(job.id)
            self._done["cancel"] += 1

    def _edit(self, job: Job) -> None:
        number = len(self.edits.get(job.id, ())) + 1
        changes = {
            "priority": self._dice.randint(-1, 1),
            "env": {"EDIT": str(number)},
            "labels": {"edit": str(number)},
        }
        edits = self._queue.store.edits
        if edits.edit([job.seq], job_changes(changes), now_ms=times.now_ms()):
            self.edits.setdefault(job.id, []).append(self._queue.store.show(job.seq).runs)
            self._done["edit"] += 1

    def _run_now(self, job: Job) -> None:
        if self._queue.store.edits.run_now([job.seq], now_ms=times.now_ms()):
            self.hurried.add(job.id)
            self._done["run-now"] += 1

    def _move(self, job: Job, jobs: list[Job]) -> None:
        """Moves a job before the first ready one of its queue, or before another one."""
        store = self._queue.store
        movable = [one for one in jobs if one.queue == job.queue and one.label in _MOVABLE]
        first = store.edits.first(job.queue, None) if self._dice.random() < 0.5 else None
        if job.label not in _MOVABLE or job.expires_ms is not None:
            return
        target = self._dice.choice(movable) if first is None else store.show(first)
        if target.seq == job.seq or target.label not in _MOVABLE:
            return
        changes = changes_before(target, job)
        if store.edits.edit([job.seq], changes, now_ms=times.now_ms()):
            self.hurried.add(job.id)
            self._done["move"] += 1
            after = store.show(job.seq), store.show(target.seq)
            if all(
                now.runs == before.runs and now.label in _MOVABLE
                for before, now in zip((job, target), after, strict=True)
            ):
                self.moves.append(after)

    def _hold(self, job: Job) -> None:
        if self._queue.store.edits.hold([job.seq], now_ms=times.now_ms()):
            self._held[job.id] = self._queue.store.show(job.seq).runs
            self._done["hold"] += 1

    def _release(self, job: Job) -> None:
        runs = self._queue.store.show(job.seq).runs
        if self._queue.store.edits.release([job.seq], now_ms=times.now_ms()):
            self.holds.append((job.id, self._held.pop(job.id, 0), runs))
            self._done["release"] += 1

    def cancel_group(self) -> None:
        """Cancels all jobs with a label that wait or run."""
        wanted = JobFilter(_LIVE, job_label=("group", str(self._dice.randrange(GROUPS))))
        rows = self._queue.store.select(wanted)
        moved = self._queue.store.cancel_all(rows, wanted, now_ms=times.now_ms())
        self.cancelled |= {name for name, _ in moved}
        self._done["cancel by filter"] += len(moved)

    def pause_queue(self) -> None:
        """Pauses a queue for a while, unless it is paused."""
        self._pause(self._dice.choice(list(QUEUES)), suspended_ms=None)

    def suspend_queue(self) -> None:
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

    def resume_queues(self, now_s: float) -> None:
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

    def release_all(self) -> None:
        """Releases all held jobs."""
        for job in list(self._queue.store.list(JobFilter((Label.HELD,)))):
            self._release(job)
