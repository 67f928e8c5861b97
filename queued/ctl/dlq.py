"""The dead letter queue: list, retry, purge."""

from functools import partial

from queued.core.errors import Exit
from queued.core.model import Label
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, LIST_OPTIONS, Arguments
from queued.ctl.batches import (
    CHANGE_OPTIONS,
    Verb,
    dry_run,
    found,
    jobs_text,
    move_all,
    named,
)
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS, job_filter
from queued.ctl.render import print_json, print_out

_STATES = ((Label.DEAD,), (Label.DEAD, Label.CANCELLED))  # without --state, and those it takes
_RETRIES = Verb("retry", "retried", *_STATES)

LIST = (
    """\
Usage: queuectl dlq list [options]

Lists dead jobs and why they died. On a terminal: as many of the newest as fit,
the newest last. In a pipe, with --all or -n: all that match, oldest first.

Options:
"""
    + FILTER_OPTIONS
    + LIST_OPTIONS
    + COMMON
    + """
Examples:
  queuectl dlq list --since 12h
  queuectl dlq list -o id,exit,ended,why
"""
)


def list_(context: Context, arguments: Arguments) -> int:
    """Prints the dead jobs that match."""
    from queued.ctl.job_columns import DEAD_COLUMNS
    from queued.ctl.job_table import print_jobs

    return print_jobs(context, arguments, job_filter(arguments, *_STATES), DEAD_COLUMNS)


RETRY = (
    """\
Usage:
  queuectl dlq retry [options] [--] JOBS...
  queuectl dlq retry [options]

Makes jobs pending again, with no attempts counted: those that are named, or all
dead ones that match the options; the history of their runs is kept, but an
expiry or a deadline that has passed is removed. Cancelled jobs are retried if
they are named, or with --state. If one of the jobs that are named is neither
dead nor cancelled, or another job has its unique key, none is retried; jobs
that only match are left out then.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a job is neither dead
nor cancelled, or its unique key is taken.

Examples:
  queuectl dlq retry @last
  queuectl dlq retry --outcome timeout,lost --since 12h --yes
"""
)


def retry(context: Context, arguments: Arguments) -> int:
    """Retries the named jobs, or the dead ones that match. Raises ConflictError."""
    if arguments.flag("--dry-run"):
        return dry_run(context, arguments, _RETRIES)
    jobs = named(context, arguments, _RETRIES.infinitive, _RETRIES.default)
    ids = list(context.store.retry(jobs, now_ms=now_ms())) if jobs else []
    context.changed = len(ids)
    if not jobs:
        chosen = found(context, arguments, _RETRIES)
        ids = move_all(_RETRIES, chosen, partial(context.store.retry_all, now_ms=now_ms()))
    if context.json:
        print_json({"retried": ids})
    elif jobs:
        print_out("\n".join(f"{name} pending" for name in ids))
    else:
        print_out(f"{jobs_text(len(ids))} retried")
    return Exit.DONE


PURGE = (
    """\
Usage:
  queuectl dlq purge [options] [--] JOBS...
  queuectl dlq purge [options]

Deletes dead jobs with their history and output: those that are named, or all
that match the options. Cancelled jobs are deleted with --state.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a job is neither dead
nor cancelled.

Examples:
  queuectl dlq purge --older-than 30d --yes
  queuectl dlq purge job1
"""
)


def purge(context: Context, arguments: Arguments) -> int:
    """Deletes the named jobs, or the dead ones that match. Raises ConflictError."""
    from queued.ctl.purge import delete

    return delete(context, arguments, Verb("delete", "deleted", *_STATES))
