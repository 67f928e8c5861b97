"""The command move: changes the order in which jobs of a queue start."""

from queued.core.errors import ConflictError, Exit, UsageError
from queued.core.job_changes import JobChanges
from queued.core.model import Label, State
from queued.core.records import Job
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_err, print_json, print_out

MOVE = (
    """\
Usage: queuectl move [options] [--] JOB

Lets a job that waits start before another one of its queue: it gets the
priority of that job and its time, or a time of a millisecond earlier. Its own
start time is lost: a job that is scheduled for later becomes due with the other
one. Jobs that were enqueued in the same millisecond as the other one may start
after it, too.
Over PostgreSQL it needs the role of an operator.

Options:
  --first              before all jobs of the queue that are due; a job with a
                       key goes first in the line of its key, too
  --before OTHER       before this job
"""
    + COMMON
    + """
Exit code 4: one of the jobs runs or has ended, or they have different queues.

Examples:
  queuectl move --first job2
  queuectl move --before job1 job2
"""
)


def move(context: Context, arguments: Arguments) -> int:
    """Moves a job before another one. Raises ConflictError."""
    if arguments.flag("--first") is (arguments.text("--before") is not None):
        msg = f"where to move {arguments.text('JOB')}? give --first or --before OTHER"
        raise UsageError(msg)
    row = context.find_one(arguments.text("JOB") or "")
    job = _waiting(context, row)
    target = _target(context, arguments, job)
    if target.queue != job.queue and not arguments.flag("--first"):
        msg = f"{job.id} is in the queue {job.queue}, {target.id} in {target.queue}"
        raise ConflictError(msg)
    if target.seq == job.seq:
        waits = job.seen_at(now_ms()).label in (Label.SCHEDULED, Label.FAILED)
        hint = f"; to start it at once: {context.program} run-now {job.id}" if waits else ""
        print_err(f"queuectl: nothing was moved: no other job to move {job.id} before{hint}")
    else:
        moved = context.store.edits.edit([row], changes_before(target, job), now_ms=now_ms())
        context.changed = len(moved)
    job = _waiting(context, row).seen_at(now_ms())
    if context.json:
        print_json({job.id: job.label})
    else:
        print_out(f"{job.id} {job.label}")
    return Exit.DONE


def changes_before(target: Job, job: Job) -> JobChanges:
    """Returns the changes with which `job` starts before `target`."""
    time_ms = target.next_run_at_ms - (target.seq < job.seq)
    return JobChanges(priority=target.priority, run_at_ms=time_ms)


def _target(context: Context, arguments: Arguments, job: Job) -> Job:
    """Returns the job before which `job` is to start; itself if no other one is due."""
    other = arguments.text("--before")
    if other is not None:
        return _waiting(context, context.find_one(other))
    first = context.store.edits.first(job.queue, job.key)
    return job if first is None else context.store.show(first)


def _waiting(context: Context, row: int) -> Job:
    """Returns a job. Raises ConflictError if it does not wait."""
    job = context.store.show(row)
    if job.state is not State.PENDING:
        msg = f"{job.id} is {job.label}; only a job that waits has a place in its queue"
        raise ConflictError(msg)
    return job
