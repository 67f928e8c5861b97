"""The commands hold, release and run-now, which change when pending jobs start."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from queued.core.errors import ConflictError, Exit
from queued.core.model import PARTS_OF_PENDING, Label
from queued.core.records import Job
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
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
from queued.ctl.filters import FILTER_OPTIONS
from queued.ctl.render import print_json, print_out

if TYPE_CHECKING:
    from queued.store.protocols import BulkVerb

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

_HOLDS = Verb("hold", "held", (Label.PENDING,), (Label.PENDING, *PARTS_OF_PENDING))


def hold(context: Context, arguments: Arguments) -> int:
    """Holds jobs. Raises ConflictError, which names those that do not wait."""

    def one(job: int) -> bool:
        return context.store.edits.hold(job, now_ms=now_ms())

    return _move(context, arguments, Move(_HOLDS, "hold", one, "cannot be held"))


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

    def one(job: int) -> bool:
        return context.store.edits.release(job, now_ms=now_ms())

    return _move(context, arguments, Move(_RELEASES, "release", one, "is not held"))


RUN_NOW = (
    """\
Usage: queuectl run-now [options] [--] JOBS...

Makes jobs that wait for their time or for a retry due at once.

Options:
"""
    + COMMON
    + """
Exit code 4: a job is held, waits for other jobs, runs, or has ended.

Examples:
  queuectl run-now job1
  queuectl list --state failed --quiet | xargs queuectl run-now
"""
)


def run_now(context: Context, arguments: Arguments) -> int:
    """Makes the named jobs due. Raises ConflictError, which names those that cannot be."""

    def one(job: int) -> bool:
        return context.store.edits.run_now(job, now_ms=now_ms())

    return move_named(context, context.find(arguments.texts("JOBS")), one, "cannot run now")


class Move(NamedTuple):
    """What one of the commands does: with all jobs of a batch, and with one."""

    words: Verb
    bulk: "BulkVerb"
    one: Callable[[int], bool]
    refusal: str


def _move(context: Context, arguments: Arguments, move: Move) -> int:
    if arguments.flag("--dry-run"):
        return dry_run(context, arguments, move.words)
    jobs = named(context, arguments, move.words.infinitive)
    if jobs:
        return move_named(context, jobs, move.one, move.refusal)
    chosen = found(context, arguments, move.words)
    change = partial(context.store.move_all, move.bulk, now_ms=now_ms())
    ids = move_all(move.words, chosen, change)
    if context.json:
        print_json({move.words.participle: ids})
    else:
        print_out(f"{jobs_text(len(ids))} {move.words.participle}")
    return Exit.DONE


def move_named(
    context: Context, jobs: Sequence[int], one: Callable[[int], bool], refusal: str
) -> int:
    """Changes each of the jobs by `one`, and prints their states.

    Raises ConflictError, which names the jobs for which `one` has returned False.
    """
    moved, refused = list[Job](), list[str]()
    for seq in jobs:
        done = one(seq)
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
