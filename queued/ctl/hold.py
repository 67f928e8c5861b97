"""The commands hold and release: keep pending jobs from starting, and undo that."""

from collections.abc import Callable

from queued.core.errors import ConflictError, Exit
from queued.core.records import Job
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_json, print_out

HOLD = (
    """\
Usage: queuectl hold [options] [--] JOBS...

Holds jobs that wait: they do not start before queuectl release, also when they
are due. A job that runs is not stopped, and cannot be held.

Options:
"""
    + COMMON
    + """
Exit code 4: a job runs or has ended.

Examples:
  queuectl hold job1 job2
  queuectl list --state held
"""
)


def hold(context: Context, arguments: Arguments) -> int:
    """Holds the named jobs. Raises ConflictError, which names those that do not wait."""
    return _move(
        context, arguments, lambda seq: context.store.hold(seq, now_ms=now_ms()), "cannot be held"
    )


RELEASE = (
    """\
Usage: queuectl release [options] [--] JOBS...

Releases held jobs: those that are due can start at once.

Options:
"""
    + COMMON
    + """
Exit code 4: a job is not held.

Examples:
  queuectl release job1
  queuectl list --state held -q | xargs queuectl release
"""
)


def release(context: Context, arguments: Arguments) -> int:
    """Releases the named jobs. Raises ConflictError, which names those that are not held."""
    return _move(
        context, arguments, lambda seq: context.store.release(seq, now_ms=now_ms()), "is not held"
    )


def _move(context: Context, arguments: Arguments, move: Callable[[int], bool], refusal: str) -> int:
    moved, refused = list[Job](), list[str]()
    for seq in context.find(arguments.texts("JOBS")):
        done = move(seq)
        job = context.store.show(seq).seen_at(now_ms())
        if done:
            moved.append(job)
        else:
            refused.append(f"{job.id} is {job.label} and {refusal}")
        if done and not context.json:
            print_out(f"{job.id} {job.label}")
    if context.json:
        print_json({job.id: job.label for job in moved})
    if refused:
        raise ConflictError(", ".join(refused))
    return Exit.DONE
