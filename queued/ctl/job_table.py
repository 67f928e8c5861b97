"""Lists jobs: which jobs match, in which order, and in which form they are printed."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from queued.core.errors import Exit, UsageError
from queued.core.model import Job, JobFilter, Label, State
from queued.core.suggestions import did_you_mean
from queued.core.times import now_ms
from queued.ctl.arguments import Arguments
from queued.ctl.context import Context
from queued.ctl.job_columns import COLUMNS, JobRow, JobTable, requested_columns
from queued.ctl.json_records import job_record
from queued.ctl.render import (
    escaped,
    json_text,
    print_err,
    print_json_array,
    print_out,
    table_width,
    terminal_size,
    uses_color,
)

_PAGE = 500
_ENDED = (Label.DEAD, Label.CANCELLED, Label.COMPLETED)
_PARTS_OF_PENDING = (Label.SCHEDULED, Label.FAILED)
_SYNONYMS = {
    "done": Label.COMPLETED,
    "finished": Label.COMPLETED,
    "succeeded": Label.COMPLETED,
    "success": Label.COMPLETED,
    "running": Label.PROCESSING,
    "active": Label.PROCESSING,
    "started": Label.PROCESSING,
    "queued": Label.PENDING,
    "waiting": Label.PENDING,
    "delayed": Label.SCHEDULED,
    "retrying": Label.FAILED,
    "buried": Label.DEAD,
    "killed": Label.CANCELLED,
}
_SORT_KEYS: dict[str, Callable[[Job], int]] = {
    "enqueued": lambda job: job.seq,
    "updated": lambda job: job.updated_ms,
    "priority": lambda job: job.priority,
    "fails": lambda job: job.attempts,
}


class Selection(NamedTuple):
    """Which jobs to list. No labels: jobs in all states. `since_ms`: jobs changed since then."""

    labels: Sequence[Label]
    queue: str | None
    since_ms: int
    limit: int | None
    reverse: bool
    sort: str
    now_ms: int


def print_jobs(
    context: Context, arguments: Arguments, labels: Sequence[Label], columns: Sequence[str]
) -> int:
    """Prints the jobs that have one of the labels and match the other options."""
    selection = _selection(arguments, labels)
    form = "json" if context.json else arguments.text("--output") or ""
    if form == "json":
        print_json_array(_records(context, selection))
    elif form == "jsonl":
        for record in _records(context, selection):
            print_out(json_text(record))
    elif arguments.flag("--quiet"):
        for job in _matching(context, selection):
            print_out(escaped(job.id))
    elif form == "tsv":
        names = list(COLUMNS)
        print_out("\t".join(names))
        for job in _matching(context, selection):
            row = JobRow(job, context.store, selection.now_ms)
            print_out("\t".join(escaped(COLUMNS[name].text(row)) for name in names))
    else:
        _print_table(context, arguments, selection, requested_columns(form) or columns)
    return Exit.DONE


def labels_of(text: str | None) -> list[Label]:
    """Returns the states and labels that `--state` names. Raises UsageError that lists them."""
    labels = []
    for name in [] if text is None else text.split(","):
        if name not in set(Label):
            meant = _SYNONYMS.get(name.lower())
            hint = f"; did you mean '{meant}'?" if meant else did_you_mean(name, map(str, Label))
            msg = f"unknown state {name!r}{hint} (one of {', '.join(Label)})"
            raise UsageError(msg)
        labels.append(Label(name))
    parts = _PARTS_OF_PENDING if Label.PENDING in labels else ()
    return [label for label in dict.fromkeys(labels) if label not in parts]


def _selection(arguments: Arguments, labels: Sequence[Label]) -> Selection:
    age_s = arguments.seconds("--since")
    sort = arguments.text("--sort") or "enqueued"
    now = now_ms()
    if sort not in _SORT_KEYS:
        msg = f"--sort takes {', '.join(_SORT_KEYS)}, not {sort!r}{did_you_mean(sort, _SORT_KEYS)}"
        raise UsageError(msg)
    return Selection(
        labels,
        arguments.text("--queue"),
        0 if age_s is None else now - round(min(age_s, now / 1000) * 1000),
        arguments.integer("--limit", 1),
        arguments.flag("--reverse"),
        sort,
        now,
    )


def _matching(context: Context, wanted: Selection) -> Iterator[Job]:
    """Yields the matching jobs; keeps them in memory only if they must be sorted."""
    at_once = wanted.since_ms == 0 and wanted.sort == "enqueued"
    jobs = _merged(context, wanted, wanted.limit if at_once else None)
    if wanted.since_ms:
        jobs = (job for job in jobs if job.updated_ms >= wanted.since_ms)
    if wanted.sort != "enqueued":
        jobs = iter(sorted(jobs, key=_SORT_KEYS[wanted.sort], reverse=wanted.reverse))
    return islice(jobs, wanted.limit)


def _records(context: Context, wanted: Selection) -> Iterator[dict[str, object]]:
    """Yields the matching jobs as JSON objects, each with the last run of the job."""
    jobs = _matching(context, wanted)
    while page := list(islice(jobs, _PAGE)):
        last = context.store.last_attempts(page)
        yield from (job_record(job, last.get(job.seq)) for job in page)


def _merged(context: Context, wanted: Selection, limit: int | None) -> Iterator[Job]:
    """Yields the jobs of all wanted labels in the order of enqueueing, or newest first."""
    labels: Sequence[Label | None] = wanted.labels or [None]
    streams = [
        _jobs(context, JobFilter(label, wanted.queue, wanted.reverse, wanted.now_ms), limit)
        for label in labels
    ]
    if len(streams) == 1:
        return streams[0]
    from heapq import merge

    return merge(*streams, key=_SORT_KEYS["enqueued"], reverse=wanted.reverse)


def _jobs(context: Context, wanted: JobFilter, limit: int | None) -> Iterator[Job]:
    return (job.seen_at(wanted.after_ms) for job in context.store.list(wanted, limit=limit))


def _print_table(
    context: Context, arguments: Arguments, wanted: Selection, columns: Sequence[str]
) -> None:
    everything = any(map(arguments.flag, ("--all", "--limit", "--reverse", "--sort")))
    room = None if everything else _room()
    jobs = _matching(context, wanted) if room is None else _screenful(context, wanted, room)
    table = JobTable(columns, table_width(), color=uses_color(arguments.text("--color")))
    shown = _print_rows(context, wanted, jobs, table)
    rest = "" if room is None else _rest(context, wanted, shown)
    if rest:
        sys.stdout.flush()
        print_err(rest)
    elif not shown:
        print_err("no jobs")


def _print_rows(
    context: Context, wanted: Selection, jobs: Iterable[Job], table: JobTable
) -> dict[Label, int]:
    """Prints a line for each job below a heading. Returns how many jobs had which label."""
    shown: dict[Label, int] = {}
    for job in jobs:
        if not shown:
            print_out(table.heading())
        shown[job.label] = shown.get(job.label, 0) + 1
        print_out(table.line(JobRow(job, context.store, wanted.now_ms)))
    return shown


def _room() -> int | None:
    """Returns how many jobs a terminal shows at once; None if standard output is no terminal."""
    size = terminal_size()
    return max(size.lines - 3, 5) if size and size.lines else None


def _screenful(context: Context, wanted: Selection, room: int) -> list[Job]:
    """Returns at most `room` jobs: those that run, those that wait, then the newest dead ones.

    The jobs of each part are in the order of enqueueing. Ended jobs get a third of the room at
    least. Completed ones are shown only if their state was asked for, or if there is nothing else
    to show.
    """
    active = [label for label in wanted.labels if label not in _ENDED]
    ended = [label for label in wanted.labels if label in _ENDED]
    if not wanted.labels:
        active, ended = [Label.PROCESSING, Label.PENDING], [Label.DEAD]
    going = [job for label in active for job in _some(context, wanted, [label], room)]
    over = _some(context, wanted, ended, room, newest=True) if ended else []
    if not (wanted.labels or going or over):
        over = _some(context, wanted, _ENDED, room, newest=True)
    going = going[: room - min(len(over), room // 3)]
    return going + over[: room - len(going)][::-1]


def _some(
    context: Context, wanted: Selection, labels: Sequence[Label], room: int, *, newest: bool = False
) -> list[Job]:
    some = wanted._replace(labels=labels, limit=room, reverse=newest)
    return list(_matching(context, some))


def _rest(context: Context, wanted: Selection, shown: dict[Label, int]) -> str:
    """Returns a line that counts the jobs that the table does not show; empty if it shows all.

    With --queue or --since the line counts nothing and is never empty.
    """
    if wanted.queue is not None or wanted.since_ms:
        return "… all that match: queuectl list --all, with the same options"
    counts = context.store.status(now_ms=wanted.now_ms).counts
    whole = {Label(state): counts[Label(state)] for state in State}
    missing = {label: counts[label] for label in wanted.labels} if wanted.labels else whole
    for label, count in shown.items():
        missing[label if label in missing else Label.PENDING] -= count
    rest = ", ".join(f"{count:,} {label}" for label, count in missing.items() if count > 0)
    return f"… {rest}: queuectl list --all" if rest else ""
