"""The dead letter queue: list, retry."""

from queued.core.errors import Exit
from queued.core.model import Label
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, LIST_OPTIONS, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_err, print_json, print_out

LIST = (
    """\
Usage: queuectl dlq list [options]

Lists dead jobs and why they died. On a terminal: as many of the newest as fit,
the newest last. In a pipe, with --all or -n: all that match, oldest first.

Options:
"""
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

    return print_jobs(context, arguments, [Label.DEAD], DEAD_COLUMNS)


RETRY = (
    """\
Usage:
  queuectl dlq retry [options] [--] JOBS...
  queuectl dlq retry [options] --all

Makes dead jobs pending again, with no attempts counted; the history of their
runs is kept. Cancelled jobs can be retried by name, too. If one of the jobs is
neither dead nor cancelled, none is retried.

Options:
  -a, --all            all dead jobs
"""
    + COMMON
    + """
Exit code 4: a job is neither dead nor cancelled.

Examples:
  queuectl dlq retry @last
  queuectl dlq retry --all
"""
)


def retry(context: Context, arguments: Arguments) -> int:
    """Retries the named jobs, or all dead ones. Raises ConflictError."""
    if arguments.flag("--all"):
        ids = context.store.retry_all(now_ms=now_ms())
    else:
        ids = context.store.retry(context.find(arguments.texts("JOBS")), now_ms=now_ms())
    if context.json:
        print_json({"retried": ids})
    elif ids:
        print_out("\n".join(f"{name} pending" for name in ids))
    else:
        print_err("no dead jobs")
    return Exit.DONE
