"""Lists jobs: which jobs match, in which order, and in which form they are printed."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from math import inf
from typing import NamedTuple

from queued.core.errors import Exit, UsageError
from queued.core.model import ENDED, Label, State
from queued.core.records import Attempt, Job, JobFilter
from queued.core.suggestions import did_you_mean
from queued.ctl.arguments import Arguments
from queued.ctl.batches import narrowed
from queued.ctl.context import Context
from queued.ctl.filters import FILTERS
from queued.ctl.job_changes import print_changes, records
from queued.ctl.job_columns import COLUMNS, JobRow, JobTable, requested_columns, tsv_text
from queued.ctl.live_services import BlockReasons
from queued.ctl.render import (
    escaped,
    json_text,
    print_err,
    print_json_array,
    print_out,
    shell_line,
    terminal_size,
)
from queued.ctl.table import ELLIPSIS, table_width, uses_color

_FITTED_JOBS = 100  # the first ones, for whose ids the table has room

_SORT_KEYS: dict[str, Callable[[Job], int]] = {
    "enqueued": lambda job: job.seq,
    "updated": lambda job: job.updated_ms,
    "due": lambda job: job.next_run_at_ms,
    "started": lambda job: job.seq,  # replaced by the start of the last run
    "priority": lambda job: job.priority,
    "fails": lambda job: job.attempts,
}


class Selection(NamedTuple):
    """Which jobs to list, how many, and in which order.

    `named`: only these rows. `after`: only jobs that come after this row in that order.
    """

    filter: JobFilter
    named: Sequence[int]
    after: int | None
    limit: int | None
    reverse: bool
    sort: str

    @property
    def labels(self) -> tuple[Label, ...]:
        """The states; none: all."""
        return self.filter.labels

    @property
    def now_ms(self) -> int:
        """The time at which the jobs are seen."""
        return self.filter.now_ms


def print_jobs(
    context: Context, arguments: Arguments, wanted: JobFilter, columns: Sequence[str]
) -> int:
    """Prints the jobs that match."""
    form = "json" if context.json else arguments.text("--output") or ""
    if form == "jsonl" and arguments.flag("--watch"):
        _check_stream(arguments)
        print_changes(context, wanted, context.find(arguments.texts("JOBS")))
    selection = _selection(context, arguments, wanted)
    if form == "json":
        print_json_array(records(context, _matching(context, selection)))
    elif form == "jsonl":
        for record in records(context, _matching(context, selection)):
            print_out(json_text(record))
    elif arguments.flag("--quiet"):
        for job in _matching(context, selection):
            print_out(escaped(job.id))
    elif form == "tsv" or form.startswith("tsv,"):
        names = requested_columns(form[4:]) or list(COLUMNS)
        if not arguments.flag("--no-heading"):
            print_out("\t".join(names))
        reasons = BlockReasons(context)
        for job in _matching(context, selection):
            row = JobRow(job, context.store, selection.now_ms, reasons.of_job(job))
            print_out("\t".join(escaped(tsv_text(name, row)) for name in names))
    else:
        _print_table(context, arguments, selection, requested_columns(form) or columns)
    return Exit.DONE


def _check_stream(arguments: Arguments) -> None:
    """Raises UsageError if an option has no meaning for jobs that are printed as they change."""
    if other := arguments.given() & {"--limit", "--reverse", "--after", "--sort", "--older-than"}:
        msg = f"--watch prints jobs as they change; give it without {min(other)}"
        raise UsageError(msg)


def _selection(context: Context, arguments: Arguments, wanted: JobFilter) -> Selection:
    sort = arguments.text("--sort") or "enqueued"
    if sort not in _SORT_KEYS:
        msg = f"--sort takes {', '.join(_SORT_KEYS)}, not {sort!r}{did_you_mean(sort, _SORT_KEYS)}"
        raise UsageError(msg)
    limit = arguments.integer("--limit", 1)
    names, after = arguments.texts("JOBS"), arguments.text("--after")
    named = narrowed(context, arguments, context.find(names))
    first = None if after is None else context.find_one(after)
    return Selection(wanted, named, first, limit, arguments.flag("--reverse"), sort)


def _matching(context: Context, wanted: Selection) -> Iterator[Job]:
    """Yields the matching jobs; keeps them in memory only if they must be sorted."""
    by_key = wanted.sort != "enqueued"
    jobs: Iterable[Job]
    if wanted.named:
        jobs = map(context.store.show, wanted.named)
    else:
        limit = None if by_key else wanted.limit
        jobs = context.store.list(
            wanted.filter, limit=limit, reverse=wanted.reverse, after=wanted.after
        )
    if by_key:
        key: Callable[[Job], float] = _SORT_KEYS[wanted.sort]
        jobs = list(jobs)
        if wanted.sort == "started":
            key = _start_of(context.store.last_attempts(jobs))
        jobs.sort(key=key, reverse=wanted.reverse)
    return (job.seen_at(wanted.now_ms) for job in islice(jobs, wanted.limit))


def _start_of(runs: Mapping[int, Attempt]) -> Callable[[Job], float]:
    """Returns the key by which jobs that have not run come after all others."""
    return lambda job: runs[job.seq].started_ms if job.seq in runs else inf


def _print_table(
    context: Context, arguments: Arguments, wanted: Selection, columns: Sequence[str]
) -> None:
    everything = arguments.given() & {"--all", "--limit", "--reverse", "--sort", "--after"}
    rows = None if everything or wanted.named else _rows_of_terminal()
    jobs = _matching(context, wanted) if rows is None else _screenful(context, wanted, rows)
    table = JobTable(columns, table_width(), color=uses_color(arguments.text("--color")))
    heading = not arguments.flag("--no-heading")
    shown = _print_rows(context, wanted, jobs, table, heading=heading)
    hidden = "" if rows is None else _hidden(context, wanted, shown, rows)
    if hidden:
        sys.stdout.flush()
        print_err(f"{ELLIPSIS} {hidden}: {_command_for_all(context, arguments, wanted)}")
    elif not shown:
        print_err("no jobs")


def _print_rows(
    context: Context, wanted: Selection, jobs: Iterable[Job], table: JobTable, *, heading: bool
) -> dict[Label, int]:
    """Prints a line for each job, below a heading. Returns how many jobs had which label."""
    shown: dict[Label, int] = {}
    reasons = BlockReasons(context)
    left = iter(jobs)
    first = list(islice(left, _FITTED_JOBS))
    table.fit_ids(job.id for job in first)
    for job in chain(first, left):
        if heading and not shown:
            print_out(table.heading())
        shown[job.label] = shown.get(job.label, 0) + 1
        print_out(table.line(JobRow(job, context.store, wanted.now_ms, reasons.of_job(job))))
    return shown


def _rows_of_terminal() -> int | None:
    """Returns how many jobs a terminal shows at once; None if standard output is no terminal."""
    size = terminal_size()
    return max(size.lines - 3, 5) if size and size.lines else None


def _screenful(context: Context, wanted: Selection, rows: int) -> list[Job]:
    """Returns at most `rows` jobs: running jobs, waiting jobs, then the newest dead jobs.

    The jobs of each part are in the order of enqueueing. Ended jobs get a third of the rows at
    least. Completed ones are shown only if their state was asked for, or if there is nothing else
    to show.
    """
    active_labels = [label for label in wanted.labels if label not in ENDED]
    ended_labels = [label for label in wanted.labels if label in ENDED]
    if not wanted.labels:
        active_labels, ended_labels = [Label.PROCESSING, Label.PENDING], [Label.DEAD]
    active = [job for label in active_labels for job in _first(context, wanted, [label], rows)]
    ended = _newest(context, wanted, ended_labels, rows)
    if not (wanted.labels or active or ended):
        ended = _newest(context, wanted, ENDED, rows)
    active = active[: rows - min(len(ended), rows // 3)]
    return active + ended[: rows - len(active)][::-1]


def _first(context: Context, wanted: Selection, labels: Sequence[Label], limit: int) -> list[Job]:
    chosen = wanted.filter._replace(labels=tuple(labels))
    return list(_matching(context, wanted._replace(filter=chosen, limit=limit)))


def _newest(context: Context, wanted: Selection, labels: Sequence[Label], limit: int) -> list[Job]:
    reverse = wanted._replace(reverse=True)
    return _first(context, reverse, labels, limit) if labels else []


def _hidden(context: Context, wanted: Selection, shown: dict[Label, int], rows: int) -> str:
    """Returns which matching jobs the table does not show; empty if it shows all.

    Jobs are counted by state and queue only.
    """
    queue = wanted.filter.queue
    if wanted.filter != JobFilter(wanted.labels, queue, now_ms=wanted.now_ms):
        is_full = sum(shown.values()) >= rows
        return "more" if is_full or (not wanted.labels and _hides_ended(context, wanted)) else ""
    summary = context.store.status(now_ms=wanted.now_ms)
    counts = summary.counts if queue is None else summary.queues.get(queue, {})
    labels = wanted.labels or [Label(state) for state in State]
    missing = {label: counts.get(label, 0) for label in labels}
    for label, count in shown.items():
        missing[label if label in missing else Label.PENDING] -= count
    return ", ".join(f"{count:,} {label}" for label, count in missing.items() if count > 0)


def _hides_ended(context: Context, wanted: Selection) -> bool:
    """Returns whether a completed or cancelled job may match; without --state none is shown.

    Completed jobs have no index: they are searched only with --since, if there are any in that
    time, and otherwise taken to match.
    """
    since_ms, now_ms = wanted.filter.since_ms, wanted.now_ms
    if since_ms is None:
        return context.store.status(now_ms=now_ms).counts[Label.COMPLETED] > 0
    completed = context.store.completed(since_ms=since_ms - 1, now_ms=now_ms)
    labels = [Label.CANCELLED, *([Label.COMPLETED] if completed else [])]
    return bool(_newest(context, wanted, labels, 1))


def _command_for_all(context: Context, arguments: Arguments, wanted: Selection) -> str:
    """Returns the command that shows all jobs that match the options."""
    words = ["list", "--all"]
    words += ["--state", ",".join(wanted.labels)] if wanted.labels else []
    for name in FILTERS:
        value = arguments.text(name)
        words += [] if value is None or name == "--state" else [name, value]
    return f"{context.program} {shell_line(words)}"
