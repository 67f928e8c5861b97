"""The commands hold, release and run-now, which change when pending jobs start."""

from functools import partial

from queued.core.model import Label
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.batches import CHANGE_OPTIONS, Move, Verb, move_jobs
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS, WAITING

HOLD = (
    """\
Usage:
  queuectl hold [options] [--] JOBS...
  queuectl hold [options]

Holds jobs that wait: those that are named, or all that match the options. They
do not start before queuectl release, also when they are due. A job that runs is
not stopped, and cannot be held.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match, and --yes is missing; 4: a job does not wait.

Examples:
  queuectl hold job1 job2
  queuectl hold --queue nightly --yes
"""
)

_HOLDS = Verb("hold", "held", (Label.PENDING,), WAITING)


def hold(context: Context, arguments: Arguments) -> int:
    """Holds jobs. Raises ConflictError, which names those that do not wait."""
    change = partial(context.store.edits.hold, now_ms=now_ms())
    return move_jobs(context, arguments, Move(_HOLDS, change, "cannot be held"))


RELEASE = (
    """\
Usage:
  queuectl release [options] [--] JOBS...
  queuectl release [options]

Releases held jobs: those that are named, or all that match the options. Those
that are due can start at once.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a job is not held.

Examples:
  queuectl release job1
  queuectl release --all --yes
"""
)

_RELEASES = Verb("release", "released", (Label.HELD,), (Label.HELD,))


def release(context: Context, arguments: Arguments) -> int:
    """Releases jobs. Raises ConflictError, which names those that are not held."""
    change = partial(context.store.edits.release, now_ms=now_ms())
    return move_jobs(context, arguments, Move(_RELEASES, change, "is not held"))


RUN_NOW = (
    """\
Usage:
  queuectl run-now [options] [--] JOBS...
  queuectl run-now [options]

Makes jobs due that wait for their time or for a retry: those that are named, or
all that match the options.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match, and --yes is missing; 4: a job is held, waits
for other jobs, runs, or has ended.

Examples:
  queuectl run-now job1
  queuectl run-now --state failed --yes
"""
)

_LATER = (Label.SCHEDULED, Label.FAILED)
_RUNS_NOW = Verb("start", "due", _LATER, _LATER)


def run_now(context: Context, arguments: Arguments) -> int:
    """Makes jobs due. Raises ConflictError, which names those that cannot be."""
    change = partial(context.store.edits.run_now, now_ms=now_ms())
    return move_jobs(context, arguments, Move(_RUNS_NOW, change, "cannot run now"))
