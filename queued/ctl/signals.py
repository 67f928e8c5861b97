"""The command signal: sends a signal to the processes of a running job."""

from queued.core.errors import ConflictError, Exit
from queued.core.field_checks import signal_name
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_json, print_out

SIGNAL = (
    """\
Usage: queuectl signal [options] [--] JOB SIGNAL

Sends a signal such as USR1 to all processes of a running job. The service that
runs it sends the signal once, as soon as it has read the request.

Options:
"""
    + COMMON
    + """
Exit code 4: the job is not running.

Examples:
  queuectl signal job1 USR1
  queuectl signal @last HUP
"""
)


def signal(context: Context, arguments: Arguments) -> int:
    """Requests a signal for the named job. Raises ConflictError if it is not running."""
    name = signal_name("SIGNAL", arguments.text("SIGNAL"))
    (seq,) = context.find([arguments.text("JOB") or ""])
    sent = context.store.edits.signal(seq, name)
    job = context.store.show(seq)
    if not sent:
        msg = f"{job.id} is {job.label}, not processing"
        raise ConflictError(msg)
    if context.json:
        print_json({"id": job.id, "signal": name})
    else:
        print_out(f"{job.id}: SIG{name} requested")
    return Exit.DONE
