"""The command signal: sends a signal to the processes of running jobs."""

from collections.abc import Sequence

from queued.core.field_checks import signal_name
from queued.core.model import Label
from queued.core.records import JobFilter
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.batches import CHANGE_OPTIONS, Move, Verb, move_jobs
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS

SIGNAL = (
    """\
Usage:
  queuectl signal [options] [--] JOB SIGNAL
  queuectl signal [options] [--] SIGNAL

Sends a signal such as USR1 to all processes of a running job, or of all running
jobs that match the options. The service that runs a job sends the signal once,
as soon as it has read the request.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: the job is not running.

Examples:
  queuectl signal job1 USR1
  queuectl signal --queue nightly --yes HUP
"""
)

_SIGNALS = Verb("signal", "signalled", (Label.PROCESSING,), (Label.PROCESSING,))


def signal(context: Context, arguments: Arguments) -> int:
    """Requests a signal for jobs. Raises ConflictError if the named job is not running."""
    name = signal_name("SIGNAL", arguments.text("SIGNAL"))

    def change(jobs: Sequence[int], wanted: JobFilter) -> Sequence[str]:
        return context.store.edits.signal(jobs, name, wanted)

    move = Move(_SIGNALS, change, "gets no signal", f": SIG{name} requested")
    return move_jobs(context, arguments, move)
