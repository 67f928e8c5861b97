"""What users do to jobs while a torture runs, and what they see."""

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from queued.core import times
from queued.core.errors import BusyError, ConflictError, Exit
from queued.core.job_changes import job_changes
from queued.core.model import ENDED, Label, State
from queued.core.records import Job, JobFilter
from queued.ctl.move import changes_before
from tests.service import Queue
from tests.torture.history import RecordedResult, Rerun, Run, SentSignal, is_hook, marks
from tests.torture.load import GROUPS, PATIENCE_S, READY, SIGNAL, Enqueuer, rerunner
from tests.torture.suspensions import uptime_cs

_LIVE = (Label.PENDING, Label.PROCESSING)
_MOVABLE = (Label.PENDING, Label.SCHEDULED, Label.FAILED)  # an end of another job moves no such job


class UserActions:
    """The dice choose a job, and what is done to it. `done` counts that.

    `on_jobs` gets the jobs that were read.
    """

    def __init__(
        self,
        queue: Queue,
        traces: Path,
        dice: random.Random,
        done: Counter[str],
        on_jobs: Callable[[Sequence[Job]], None],
    ) -> None:
        self._on_jobs = on_jobs
        self.cancelled: set[str] = set()
        self.retried: dict[str, list[int]] = {}
        self.died: Counter[str] = Counter()
        self.seen: dict[Run, RecordedResult] = {}
        self.keys: list[tuple[str, list[str]]] = []
        self.holds: list[tuple[str, int, int]] = []
        self.edits: dict[str, list[int]] = {}
        self.hurried: set[str] = set()
        self.moves: list[tuple[Job, Job]] = []
        self.signals: list[SentSignal] = []
        self.signalled: set[Run] = set()
        self._told: set[Run] = set()  # those for which a signal was requested in the end
        self._reruns: list[tuple[Job, Enqueuer]] = []
        self._queue = queue
        self._traces = traces
        self._dice = dice
        self._done = done
        self._held: dict[str, int] = {}  # the runs of each job when it was held

    def change_job(self) -> None:
        """Reads a random job. Retries it if it is dead or cancelled, else changes it sometimes."""
        jobs = list(self._queue.store.list(JobFilter(), limit=80, reverse=True))
        if not jobs:
            return
        self._note_keys(jobs)
        self._on_jobs(jobs)
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

    def signal_run(self) -> None:
        """Requests a signal for a run, unless its command has to wait for a deadline."""
        running = [job for job in self._running() if job.options.deadline is None]
        if running:
            self._signal(self._dice.choice(running))

    def signal_waiting(self) -> None:
        """Requests a signal for each run that waits for one, once; nothing is harmed any more."""
        for job in self._running():
            run = (job.id, job.runs)
            if job.options.deadline is not None or run in self._told:
                continue
            if (since_cs := self._waits_since_cs(run)) is not None:
                self._told.add(run)
                sent = self._signal(job)
                if uptime_cs() - since_cs < PATIENCE_S * 50:  # else its timeout may come first
                    self.signalled |= {run} & {sent}

    def _running(self) -> list[Job]:
        return list(self._queue.store.list(JobFilter((Label.PROCESSING,))))

    def _waits_since_cs(self, run: Run) -> int | None:
        """Returns since when a run waits for a signal; None if it does not."""
        file = self._traces / f"{run[0]}.trace"
        found = marks(file) if file.exists() else []
        return next((m.at_cs for m in found if (m.word, m.attempt) == (READY, run[1])), None)

    def _signal(self, job: Job) -> Run | None:
        """Requests a signal; returns the run that gets it, None if it is not certain."""
        store = self._queue.store
        first = store.show(job.seq).runs
        self.signals.append(SentSignal(job=job.id, first=first, last=None))
        sent = store.edits.signal([job.seq], SIGNAL)
        self.signals.pop()
        if not sent:
            return None
        last = store.show(job.seq).runs
        self.signals.append(SentSignal(job=job.id, first=first, last=last))
        self._done["signal"] += 1
        return (job.id, first) if first == last else None

    def rerun(self, errors: Path) -> Enqueuer | None:
        """Starts a queuectl that adds a job like an ended one, if there is one.

        No second job like a hook or a firing: the first would count as two.
        """
        ended = self._queue.store.list(JobFilter(ENDED), limit=40, reverse=True)
        jobs = [job for job in ended if job.schedule is None and not is_hook(job)]
        if not jobs:
            return None
        job = self._dice.choice(jobs)
        started = rerunner(self._queue.path, job.id, errors)
        self._reruns.append((job, started))
        self._done["rerun"] += 1
        return started

    def reruns(self) -> list[Rerun]:
        """Returns the reruns that were not refused."""
        return [
            Rerun(of=job, new=min(one.answered, default=None))
            for job, one in self._reruns
            if one.process.returncode != Exit.CONFLICT
        ]

    def release_all(self) -> None:
        """Releases all held jobs."""
        for job in list(self._queue.store.list(JobFilter((Label.HELD,)))):
            self._release(job)
