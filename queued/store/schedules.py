"""The verbs of schedules for queuectl, over the statements of any engine."""

from collections.abc import Callable, Sequence

from queued.core.errors import ConflictError, NotFoundError
from queued.core.model import ExistingJob, NewJob
from queued.core.schedules import Schedule
from queued.store.statements import Row, Statements, Transaction, texts

Insert = Callable[[NewJob, int, int], str]  # a job, max_retries, now_ms; inside a transaction


def schedule_of(row: Row) -> Schedule:
    """Returns the schedule of a row, with U+FFFD for bytes that are not UTF-8."""
    return Schedule(*texts(row, "replace"))


def put(database: Statements, statement: str, schedule: Schedule, now_ms: int) -> bool:
    """Adds or edits a schedule; returns False if the guard of the statement did not hold."""
    row = database.row(
        statement,
        schedule=schedule.name,
        cron=schedule.cron,
        zone=schedule.zone,
        job=schedule.job,
        catch_up=schedule.catch_up,
        overlap=schedule.overlap,
        file=schedule.file,
        next_at=schedule.next_after(now_ms),
        now=now_ms,
    )
    return row is not None


def mark(database: Statements, job: str, name: str, at_ms: int | None) -> None:
    """Makes a new job one of a schedule; `at_ms` is None if a user ran it."""
    database.run("schedule_mark", id=job, schedule=name, at=at_ms)


class Schedules:
    """The schedules of a queue, for queuectl. `writing` and `reading` are its transactions."""

    def __init__(
        self, database: Statements, insert: Insert, writing: Transaction, reading: Transaction
    ) -> None:
        self._database = database
        self._insert = insert
        self._writing = writing
        self._reading = reading

    def list(self) -> Sequence[Schedule]:
        """Returns all schedules, by name."""
        with self._reading():
            return [schedule_of(row) for row in self._database.rows("schedule_list")]

    def show(self, name: str) -> Schedule:
        """Returns a schedule. Raises NotFoundError."""
        with self._reading():
            return self._found(name)

    def _found(self, name: str) -> Schedule:
        row = self._database.row("schedule_show", schedule=name)
        if row is None:
            msg = f"no schedule {name!r} (see: queuectl schedule list)"
            raise NotFoundError(msg)
        return schedule_of(row)

    def jobs(self, name: str) -> Sequence[tuple[str, str]]:
        """Returns the ids and states of the jobs of a schedule that wait or run, oldest first."""
        with self._reading():
            rows = self._database.rows("schedule_jobs", schedule=name)
        return [(job, state) for _, job, state in rows]

    def add(self, schedule: Schedule, *, now_ms: int) -> None:
        """Stores a new schedule. Raises ConflictError if there is one of that name."""
        with self._writing():
            if not put(self._database, "schedule_add", schedule, now_ms):
                msg = f"there is a schedule {schedule.name} already; give --replace to change it"
                raise ConflictError(msg)

    def edit(self, schedule: Schedule, *, now_ms: int) -> None:
        """Replaces a schedule. Its next time changes only if its expression or zone does.

        Raises NotFoundError.
        """
        with self._writing():
            if not put(self._database, "schedule_edit", schedule, now_ms):
                self._found(schedule.name)

    def remove(self, name: str) -> None:
        """Removes a schedule; its jobs stay. Raises NotFoundError."""
        with self._writing():
            self._found(name)
            self._database.run("schedule_remove", schedule=name)

    def pause(self, name: str, *, now_ms: int) -> bool:
        """Lets a schedule fire no more; returns False if it was paused. Raises NotFoundError."""
        with self._writing():
            self._found(name)
            return self._database.row("schedule_pause", schedule=name, now=now_ms) is not None

    def resume(self, name: str, *, now_ms: int) -> bool:
        """Ends a pause, whose times are not caught up; returns False if there was none.

        Raises NotFoundError.
        """
        with self._writing():
            next_ms = self._found(name).next_after(now_ms)
            return self._database.row("schedule_resume", schedule=name, next_at=next_ms) is not None

    def run(self, name: str, *, max_retries: int, now_ms: int) -> str:
        """Enqueues a job of the schedule that is none of its times; returns its id.

        The result is an ExistingJob if a job with the unique key was there, and none was enqueued.

        Raises NotFoundError.
        """
        with self._writing():
            job = self._found(name).firing(now_ms)
            made = self._insert(job, max_retries, now_ms)
            if not isinstance(made, ExistingJob):
                mark(self._database, made, name, None)
        return made
