"""Streams jobs to standard output: one JSON array, or a table that stops after a screenful."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from queued.core.errors import Exit, UsageError
from queued.core.model import Job, JobFilter, Label
from queued.core.suggestions import nearest
from queued.core.times import now_ms, short_duration
from queued.ctl.arguments import Arguments
from queued.ctl.context import Context
from queued.ctl.json_records import job_record
from queued.ctl.render import Column, heading, put, put_array, row, say, screen, width_here

Lines = Callable[[Job, int], Iterator[str]]  # of one job in a table of so many columns

JOB_COLUMNS = (
    Column("ID", 16),
    Column("STATE", 10),
    Column("TRIES", 5),
    Column("WHEN", 10, right=True),
    Column("COMMAND", 0),
)


def put_jobs(
    context: Context,
    arguments: Arguments,
    label: Label | None,
    columns: Sequence[Column] = JOB_COLUMNS,
    lines: Lines | None = None,
) -> int:
    """Prints the jobs that the options --queue, --limit and --reverse leave of those of a label."""
    now = now_ms()
    queue, reverse = arguments.text("--queue"), arguments.flag("--reverse")
    wanted = JobFilter(label, queue, reverse, after_ms=now)
    limit = arguments.whole("--limit", 1)
    jobs = (job.seen_at(now) for job in context.store.list(wanted, limit=limit))
    if context.json:
        put_array(job_record(job) for job in jobs)
    elif (first := next(jobs, None)) is None:
        say("no jobs")
    else:
        shown = lines or _job_lines(now)
        put(heading(columns, width_here()))
        _put_table(context, wanted, chain([first], jobs), shown, _room(limit))
    return Exit.DONE


def label_of(text: str | None) -> Label | None:
    """The state or label that `--state` names. Raises UsageError that lists them."""
    if text is None:
        return None
    try:
        return Label(text)
    except ValueError:
        msg = f"unknown state {text!r}{nearest(text, map(str, Label))} (one of {', '.join(Label)})"
        raise UsageError(msg) from None


def _room(limit: int | None) -> int | None:
    """How many lines of jobs a terminal shows at once; None where nobody reads it there."""
    size = screen()
    return max(size.lines - 3, 5) if size and size.lines and limit is None else None


def _put_table(
    context: Context, wanted: JobFilter, jobs: Iterable[Job], lines: Lines, room: int | None
) -> None:
    width, printed = width_here(), 0
    for count, job in enumerate(jobs):
        shown = list(lines(job, width))
        printed += len(shown)
        if room is not None and printed > room:
            say(_more(context, wanted, count))
            return
        put("\n".join(shown))


def _more(context: Context, wanted: JobFilter, shown: int) -> str:
    """How many jobs the screen had no room for; counting one queue's alone would be slow."""
    known = ""
    if wanted.queue is None:
        counts = context.store.status(now_ms=now_ms()).counts
        parts = {Label.SCHEDULED, Label.FAILED}  # pending has them already
        labels = [wanted.label] if wanted.label else [lb for lb in Label if lb not in parts]
        known = f"{max(1, sum(counts[label] for label in labels) - shown)} "
    return f"… {known}more; --limit N shows N of them, a pipe shows all"


def _job_lines(now: int) -> Lines:
    def lines(job: Job, width: int) -> Iterator[str]:
        tries = f"{job.attempts}/{job.max_retries}"
        cells = (job.id, job.label, tries, _when(job, now), job.command)
        return row(JOB_COLUMNS, cells, width)

    return lines


def _when(job: Job, now: int) -> str:
    """When a waiting job is due, or since when it is what it is."""
    if job.label in {Label.SCHEDULED, Label.FAILED} and job.next_run_at_ms > now:
        return f"in {short_duration((job.next_run_at_ms - now) / 1000)}"
    return ago(job.updated_ms, now)


def ago(then_ms: int, now: int) -> str:
    """How long ago a moment was, for people."""
    return f"{short_duration((now - then_ms) / 1000)} ago"
