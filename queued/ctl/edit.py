"""The commands edit and rerun: change a job that waits, and add a job like one that has ended."""

from queued.core.errors import ConflictError, Exit, UsageError
from queued.core.job_spec import job_changes, like
from queued.core.model import State
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.hold import move_named
from queued.ctl.render import print_json, print_out

EDIT = (
    """\
Usage: queuectl edit [options] [--env VAR]... [--label LABEL]... [--] JOBS...

Changes jobs that wait, also for a retry. What is not given stays as it is;
variables and labels are added to those of the job. Over PostgreSQL it needs the
role of an operator.

Options:
  --command CMD        the command, as a line for sh
  -q, --queue QUEUE    the queue
  -p, --priority N     the priority
  --run-at TIME        not before this time, as enqueue takes it
  --delay T            not before T from now
  --timeout T          the longest time that a run may take
  --max-retries N      runs in all, if each fails
  --env VAR            NAME=VALUE, or NAME for its current value; repeatable
  --label LABEL        NAME=VALUE; repeatable
  --note TEXT          a line of text
"""
    + COMMON
    + """
Exit code 4: a job runs or has ended.

Examples:
  queuectl edit --priority 9 job1
  queuectl edit --delay 1h --timeout 10m @last
"""
)


def edit(context: Context, arguments: Arguments) -> int:
    """Changes the named jobs. Raises ConflictError, which names those that do not wait."""
    from queued.ctl.shell_job import fields

    given = fields(arguments)
    if (command := arguments.text("--command")) is not None:
        given["command"] = command
    if not given:
        msg = "edit needs an option that says what to change, such as --priority 9"
        raise UsageError(msg)
    changes = job_changes(given)
    return move_named(
        context,
        context.find(arguments.texts("JOBS")),
        lambda seq: context.store.edits.edit(seq, changes, now_ms=now_ms()),
        "cannot be edited",
    )


RERUN = (
    """\
Usage: queuectl rerun [options] [--] JOBS...

Adds a new job like each of these, which have ended, and prints the ids of the
new jobs. Start time, expiry, deadline and what a job waited for are not
repeated; the option rerun_of of the new job names the old one, which stays as
it is. To run a dead job itself again, use queuectl dlq retry.

Options:
"""
    + COMMON
    + """
Exit code 4: a job has not ended, or its unique key is taken; nothing is added.

Examples:
  queuectl rerun job1
  queuectl rerun @last
"""
)


def rerun(context: Context, arguments: Arguments) -> int:
    """Adds jobs like the named ones, all or none. Raises ConflictError."""
    store = context.store
    rows = context.find(arguments.texts("JOBS"))
    jobs = [store.show(seq) for seq in rows]
    running = [job for job in jobs if job.state in {State.PENDING, State.PROCESSING}]
    if running:
        msg = ", ".join(f"{job.id} is {job.label}, it has not ended" for job in running)
        raise ConflictError(msg)
    new = [like(job, store.edits.input(job.seq)) for job in jobs]
    ids = store.enqueue(new, max_retries=1, now_ms=now_ms(), on_taken_key="fail")
    if context.json:
        print_json({job.id: name for job, name in zip(jobs, ids, strict=True)})
    else:
        print_out("\n".join(ids))
    return Exit.DONE
