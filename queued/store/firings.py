"""The verbs of schedules for the dispatcher, over the statements of any engine.

All of them must run inside a transaction.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from queued.core.errors import ConfigError, ConflictError, UsageError
from queued.core.model import ExistingJob
from queued.core.schedules import DueTimes, Overlap, Schedule, due_times
from queued.store.schedules import Insert, mark, put, schedule_of
from queued.store.statements import Row, Statements, texts

_AT_ONCE = 100  # schedules that one transaction fires
_RETRY_MS = 300_000  # until a schedule that cannot be used is tried again
_SKIPPED_MS = 100  # until due schedules that another dispatcher fires are looked at again
# Of a row that another program wrote, or whose zone this host does not know.
_UNREADABLE = (UsageError, ValueError, TypeError, OverflowError, RecursionError)
_CLOCK_ERROR_MS = 3 * 3_600_000  # a clock that was set back by more had been wrong before


class Fired(NamedTuple):
    """What became of the times of a schedule that were due.

    `jobs`: the id of the job for each time. `skipped`: the reason for each time that got none.
    `replaced`: the ids of the cancelled jobs. `missed_ms`: the first time that was left out.
    `refused`: why the schedule cannot be used.
    """

    schedule: str
    jobs: dict[int, str]
    skipped: dict[int, str]
    replaced: list[str]
    missed_ms: int | None
    refused: str


class NextFiring(NamedTuple):
    """When the next schedule is due; and whether one waits for the end of its job."""

    at_ms: int | None
    waits: bool


class AppliedFile(NamedTuple):
    """The names of the schedules of a conf file that were added, changed and removed.

    `conflicting` are left out, because `schedule add` made one of that name.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    conflicting: list[str]


class Firings:
    """Fires schedules. `cancel` cancels a job by its row, or requests the end of its run."""

    def __init__(
        self, database: Statements, insert: Insert, cancel: Callable[[int, int], object]
    ) -> None:
        self._database = database
        self._insert = insert
        self._cancel = cancel

    def next_firing(self, *, now_ms: int) -> NextFiring:
        """Returns when the next schedule is due, without those that wait for the end of a job.

        If a schedule is due now, another dispatcher fires it at this moment.
        """
        next_ms, first_ms = self._database.row("schedules_next", now=now_ms) or (None, None)
        at_ms = None if next_ms is None else max(next_ms, now_ms + _SKIPPED_MS)
        return NextFiring(at_ms, first_ms is not None and first_ms <= now_ms)

    def fire(self, *, max_retries: int, now_ms: int) -> Sequence[Fired]:
        """Enqueues the jobs of the times that are due, of at most 100 schedules.

        Guard: no other transaction fires a schedule between its read and its move to the next time.
        """
        rows = self._database.rows("schedules_due", now=now_ms, limit=_AT_ONCE)
        return [self._fire(row, max_retries, now_ms) for row in rows]

    def _fire(self, row: Row, max_retries: int, now_ms: int) -> Fired:
        schedule = schedule_of(row)
        try:
            texts(row)
            due = due_times(schedule, now_ms)
            jobs = {at_ms: schedule.firing(at_ms) for at_ms in due.fire_ms}
        except _UNREADABLE as error:
            return self._refuse(row[0], schedule, error, now_ms)
        fired = Fired(schedule.name, {}, {}, [], due.missed_ms, "")
        for at_ms, job in jobs.items():
            try:
                if self._may_fire(schedule, at_ms, fired, now_ms):
                    made = self._insert(job, max_retries, now_ms)
                    if isinstance(made, ExistingJob):
                        fired.skipped[at_ms] = f"the job {made} {made.why}"
                        continue
                    fired.jobs[at_ms] = made
                    mark(self._database, made, schedule.name, at_ms)
            except ConflictError as error:  # its queue takes no new jobs
                fired = fired._replace(refused=str(error))
            except ConfigError as error:
                return self._refuse(row[0], schedule, error, now_ms)
        self._move_on(row[0], due, fired, schedule.last_ms)
        return fired

    def _refuse(
        self, name: str | bytes, schedule: Schedule, error: Exception, now_ms: int
    ) -> Fired:
        """Puts off a schedule that cannot be used now; its times are kept for `catch_up`."""
        self._database.run("schedule_put_off", schedule=name, retry_at=now_ms + _RETRY_MS)
        return Fired(schedule.name, {}, {}, [], None, str(error))

    def _may_fire(self, schedule: Schedule, at_ms: int, fired: Fired, now_ms: int) -> bool:
        """Returns whether a job is enqueued for the time; cancels the jobs that it replaces."""
        if self._database.row("schedule_fired", schedule=schedule.name, at=at_ms):
            return False  # before the clock was set back
        if schedule.overlap not in {Overlap.SKIP, Overlap.REPLACE}:
            return True
        earlier = self._database.rows("schedule_jobs", schedule=schedule.name)
        if earlier and schedule.overlap == Overlap.SKIP:
            fired.skipped[at_ms] = f"the job {earlier[0][1]} waits or runs"
            return False
        for row, name, _ in earlier:
            self._cancel(row, now_ms)
            fired.replaced.append(name)
        return True

    def _move_on(self, name: str | bytes, due: DueTimes, fired: Fired, last_ms: int | None) -> None:
        self._database.run(
            "schedule_move_on",
            schedule=name,
            next_at=due.next_ms,
            last_at=max(due.fire_ms, default=last_ms),
            fired=len(fired.jobs),
            skipped=len(fired.skipped),
        )

    def clock_was_set(self, *, now_ms: int) -> None:
        """Moves schedules back that have fired while the clock was more than three hours ahead.

        They would not fire before the clock has reached that time again. A time that has fired and
        whose job is still there does not fire again.
        """
        for row in self._database.rows("schedules_ahead", at=now_ms + _CLOCK_ERROR_MS):
            try:
                next_ms = schedule_of(row).next_after(now_ms)
            except _UNREADABLE:
                next_ms = now_ms  # `fire` refuses it and says why
            due = DueTimes((), None, next_ms)
            self._move_on(row[0], due, Fired("", {}, {}, [], None, ""), None)

    def keep_equal(self, wanted: Sequence[Schedule], file: str, *, now_ms: int) -> AppliedFile:
        """Makes the schedules of a conf file (HOST:PATH) those that are `wanted`."""
        rows: Sequence[Row] = self._database.rows("schedule_list")
        stored = {schedule.name: schedule for schedule in map(schedule_of, rows)}
        applied = AppliedFile([], [], [], [])
        for schedule in (one._replace(file=file) for one in wanted):
            before = stored.pop(schedule.name, None)
            if before is None:
                put(self._database, "schedule_add", schedule, now_ms)
                applied.added.append(schedule.name)
            elif before.file is None:
                applied.conflicting.append(schedule.name)
            elif before[:6] != schedule[:6]:
                put(self._database, "schedule_edit", schedule, now_ms)
                applied.changed.append(schedule.name)
        for schedule in stored.values():
            if schedule.file == file:
                self._database.run("schedule_remove", schedule=schedule.name)
                applied.removed.append(schedule.name)
        return applied
