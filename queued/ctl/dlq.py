"""The dead letter queue: list, retry."""

from collections.abc import Iterator

from queued.core.errors import Exit
from queued.core.model import Job, Label
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.job_table import Lines, ago, put_jobs
from queued.ctl.render import Column, cut, escaped, put, put_json, row, say

LIST = (
    """\
Usage: queuectl dlq list [options]

The dead jobs, in the order in which they were enqueued, and why they died.

Options:
  --queue QUEUE        of this queue only
  --limit N            the first N only
  --reverse            newest first
"""
    + COMMON
)

DEAD_COLUMNS = (
    Column("ID", 16),
    Column("TRIES", 5),
    Column("DIED", 10, right=True),
    Column("COMMAND, AND WHY IT DIED", 0),
)


def list_(context: Context, arguments: Arguments) -> int:
    """Streams the dead jobs."""
    return put_jobs(context, arguments, Label.DEAD, DEAD_COLUMNS, _dead_lines(now_ms()))


def _dead_lines(now: int) -> Lines:
    def lines(job: Job, width: int) -> Iterator[str]:
        tries = f"{job.attempts}/{job.max_retries}"
        yield from row(DEAD_COLUMNS, (job.id, tries, ago(job.updated_ms, now), job.command), width)
        yield cut(f"    {escaped(job.last_error or 'unknown')}", width)

    return lines


RETRY = (
    """\
Usage:
  queuectl dlq retry [options] [--] JOBS...
  queuectl dlq retry [options] --all

Dead jobs back to the queue, with the full number of retries; the history of
their attempts stays. A cancelled job can be named too. If one of them is
neither dead nor cancelled, nothing is done.

Options:
  --all                all dead jobs
"""
    + COMMON
)


def retry(context: Context, arguments: Arguments) -> int:
    """Retries the jobs that are named, or all. Raises ConflictError."""
    if arguments.flag("--all"):
        ids = context.store.retry_all(now_ms=now_ms())
    else:
        ids = context.store.retry(context.find(arguments.texts("JOBS")), now_ms=now_ms())
    if context.json:
        put_json({"retried": ids})
    elif ids:
        put("\n".join(f"{name} pending" for name in ids))
    else:
        say("no dead jobs")
    return Exit.DONE
