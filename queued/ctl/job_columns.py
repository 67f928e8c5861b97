"""The columns that a list of jobs can show, and how a job becomes one line of a table."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from queued.core.errors import UsageError
from queued.core.model import Label, State
from queued.core.records import Attempt, Job
from queued.core.suggestions import did_you_mean
from queued.core.times import iso, short_duration
from queued.ctl.json_records import outcome
from queued.ctl.render import escaped
from queued.ctl.table import ARROW, colored, display_width, truncate

if TYPE_CHECKING:
    from queued.store.protocols import Store

LIST_COLUMNS = ("id", "state", "queue", "fails", "time", "what")
DEAD_COLUMNS = ("id", "queue", "fails", "time", "what")
_MIN_WHAT = 12  # the narrowest command that is worth showing
_WIDEST_ID = 24  # longer ids shift the cells after them


class JobRow:
    """A job with its last attempt, which is read only if a column shows it.

    `why` is the reason of the last failure of a job that failed or is dead, what a job waits for,
    or why no service claims a job that is ready.
    """

    def __init__(self, job: Job, store: "Store", now_ms: int, blocked: str) -> None:
        self.job = job
        self.now_ms = now_ms
        failed = job.label in {Label.FAILED, Label.DEAD} or job.lacks_dependency
        self.why = (job.last_error or "") if failed else blocked
        self._store = store

    @cached_property
    def last(self) -> Attempt | None:
        """The last attempt of the job; None if it has not run."""
        attempts = self._store.attempts(self.job.seq) if self.job.runs else ()
        return attempts[-1] if attempts else None


class JobColumn(NamedTuple):
    """A column: its title, its width in a table, and the text of a job in it."""

    title: str
    width: int
    text: Callable[[JobRow], str]


def time_text(job: Job, now_ms: int) -> str:
    """Returns when a job is due, for how long it has been waiting or running, or when it ended."""
    due = job.next_run_at_ms
    if job.state is State.PENDING and due > now_ms:
        return f"in {short_duration((due - now_ms) / 1000)}"
    if job.label is Label.PENDING:
        return f"for {short_duration((now_ms - due) / 1000)}"
    waits = job.state is State.PROCESSING or job.label in {Label.HELD, Label.BLOCKED}
    age = short_duration((now_ms - job.updated_ms) / 1000)
    return f"for {age}" if waits else f"{age} ago"


def _of_last(text: Callable[[Attempt], object | None]) -> Callable[[JobRow], str]:
    def of_row(row: JobRow) -> str:
        value = None if row.last is None else text(row.last)
        return "" if value is None else str(value)

    return of_row


def _what(row: JobRow) -> str:
    return f"{row.job.command}  {ARROW} {row.why}" if row.why else row.job.command


COLUMNS = {
    "id": JobColumn("ID", 13, lambda row: row.job.id),
    "state": JobColumn("STATE", 10, lambda row: row.job.label),
    "queue": JobColumn("QUEUE", 7, lambda row: row.job.queue),
    "requires": JobColumn("REQUIRES", 16, lambda row: ",".join(sorted(row.job.requires))),
    "priority": JobColumn("PRIORITY", 8, lambda row: str(row.job.priority)),
    "key": JobColumn("KEY", 16, lambda row: row.job.key or ""),
    "unique_key": JobColumn("UNIQUE KEY", 16, lambda row: row.job.unique_key or ""),
    "labels": JobColumn("LABELS", 20, lambda row: row.job.labels_text),
    "note": JobColumn("NOTE", 20, lambda row: row.job.options.note or ""),
    "by": JobColumn("BY", 8, lambda row: row.job.submitted_by or ""),
    "fails": JobColumn("FAILS", 5, lambda row: f"{row.job.attempts}/{row.job.max_retries}"),
    "runs": JobColumn("RUNS", 4, lambda row: str(row.job.runs)),
    "time": JobColumn("TIME", 9, lambda row: time_text(row.job, row.now_ms)),
    "created": JobColumn("CREATED", 24, lambda row: iso(row.job.created_ms)),
    "updated": JobColumn("UPDATED", 24, lambda row: iso(row.job.updated_ms)),
    "next_run": JobColumn("NEXT RUN", 24, lambda row: iso(row.job.next_run_at_ms)),
    "started": JobColumn("STARTED", 24, _of_last(lambda last: iso(last.started_ms))),
    "ended": JobColumn(
        "ENDED", 24, _of_last(lambda last: None if last.ended_ms is None else iso(last.ended_ms))
    ),
    "ran": JobColumn(
        "RAN",
        6,
        _of_last(lambda last: None if last.ran_ms is None else short_duration(last.ran_ms / 1000)),
    ),
    "exit": JobColumn("EXIT", 4, _of_last(lambda last: last.exit_code)),
    "outcome": JobColumn("OUTCOME", 11, lambda row: outcome(row.job, row.last) or ""),
    "command": JobColumn("COMMAND", 20, lambda row: row.job.command),
    "why": JobColumn("WHY", 20, lambda row: row.why),
}
_TABLE_COLUMNS = {**COLUMNS, "what": JobColumn("COMMAND / WHY", 20, _what)}


def tsv_text(name: str, row: JobRow) -> str:
    """Returns the text of a column for programs: a duration in seconds, and times as moments."""
    if name == "ran":
        ran_ms = None if row.last is None else row.last.ran_ms
        return "" if ran_ms is None else str(ran_ms / 1000)
    if name == "time":
        job = row.job
        waits = job.state is State.PENDING and job.label not in {Label.HELD, Label.BLOCKED}
        return iso(job.next_run_at_ms if waits else job.updated_ms)
    return COLUMNS[name].text(row)


def requested_columns(text: str) -> list[str]:
    """Returns the columns that `--output` names; none if it is empty. Raises UsageError."""
    names = [name.strip().lower() for name in text.split(",")] if text else []
    for name in names:
        if name in {"json", "jsonl", "tsv"}:
            msg = f"-o {name} stands alone; only tsv may have columns after it: tsv,id,state"
            raise UsageError(msg)
        if name not in COLUMNS:
            known = ["json", "jsonl", "tsv", *COLUMNS]
            msg = (
                f"unknown column {name!r}{did_you_mean(name, known)} (one of {', '.join(COLUMNS)})"
            )
            raise UsageError(msg)
    return names


class JobTable:
    """Makes the lines of a table with these columns, of at most `width` columns of a terminal."""

    def __init__(self, names: Sequence[str], width: int, *, color: bool) -> None:
        self._columns = [_TABLE_COLUMNS[name] for name in names]
        self._width = width
        self._color = color
        self._fits_what = names[-1] == "what"

    def fit_ids(self, ids: Iterable[str]) -> None:
        """Makes the column of ids wide enough for these, except for very long ones."""
        for place, column in enumerate(self._columns):
            if column.title == "ID":
                fitting = [len(one) for one in ids if len(one) <= _WIDEST_ID]
                self._columns[place] = column._replace(width=max([column.width, *fitting]))

    def heading(self) -> str:
        """Returns the titles of the columns."""
        return self._line([column.title for column in self._columns])

    def line(self, row: JobRow) -> str:
        """Returns a job as one line, of which only the end is cut."""
        cells = [escaped(column.text(row)) for column in self._columns]
        if self._fits_what and len(cells[-1]) > _MIN_WHAT:
            room = self._width - display_width(self._padded(cells)) - 2
            cells[-1] = _fitted(row, cells[-1], room)
        line = self._line(cells)
        return colored(line, row.job.label) if self._color else line

    def _line(self, cells: Sequence[str]) -> str:
        return truncate(f"{self._padded(cells)}  {cells[-1]}".strip(), self._width)

    def _padded(self, cells: Sequence[str]) -> str:
        """Returns all cells but the last, each as wide as its column."""
        return "  ".join(
            [
                cell.ljust(column.width) if cell.isascii() else _padded_wide(cell, column.width)
                for cell, column in zip(cells[:-1], self._columns, strict=False)
            ]
        )


def _padded_wide(cell: str, width: int) -> str:
    return cell + " " * (width - display_width(cell))


def _fitted(row: JobRow, text: str, room: int) -> str:
    """Returns a command and the reason of its failure in `room` columns; both stay visible."""
    if display_width(text) <= room:
        return text
    reason = escaped(row.why)
    if room < _MIN_WHAT or not reason:
        return truncate(text, max(room, 1))
    reason = truncate(reason, max(room - 4 - display_width(row.job.command), room // 2))
    command = truncate(escaped(row.job.command), room - 4 - display_width(reason))
    return f"{command}  {ARROW} {reason}"
