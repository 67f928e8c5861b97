"""The command purge: deletes ended jobs with their history and output."""

from collections.abc import Sequence

from queued.core.errors import ConflictError, Exit
from queued.core.model import ENDED, Label
from queued.core.records import JobFilter
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.batches import (
    CHANGE_OPTIONS,
    Found,
    Verb,
    change_all,
    counts_text,
    dry_run,
    found,
    named,
)
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS
from queued.ctl.render import print_json, print_out

PURGE = (
    """\
Usage:
  queuectl purge [options] [--] JOBS...
  queuectl purge [options]

Deletes jobs that have ended, with their history and output: those that are
named, or all that match the options. New jobs reuse the freed space;
`queuectl db vacuum` returns it to the disk.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a job has not ended.

Examples:
  queuectl purge --older-than 7d --yes
  queuectl purge --state completed --queue nightly --dry-run
  queuectl purge job1
"""
)


def purge(context: Context, arguments: Arguments) -> int:
    """Deletes the named jobs, or those that match. Raises ConflictError."""
    return delete(context, arguments, Verb("delete", "deleted", ENDED, ENDED))


def delete(context: Context, arguments: Arguments, verb: Verb) -> int:
    """Deletes the named jobs, or those that match, of the states that the verb allows.

    Raises ConflictError if a named job has another state; then none is deleted.
    """
    if arguments.flag("--dry-run"):
        return dry_run(context, arguments, verb)
    jobs = named(context, arguments, verb.infinitive, verb.default)
    chosen = _by_state(context, jobs, verb) if jobs else found(context, arguments, verb)

    def change(batch: Sequence[int], wanted: JobFilter) -> tuple[int, bool]:
        return context.store.purge(batch, wanted)

    removed = change_all(verb, chosen, change)
    if context.json:
        print_json({label.value: count for label, count in removed.items()})
    else:
        print_out(f"{counts_text(removed)} deleted")
    return Exit.DONE


def _by_state(context: Context, jobs: Sequence[int], verb: Verb) -> Found:
    """Returns the named jobs by their states."""
    states: dict[Label, list[int]] = {}
    for job in map(context.store.show, jobs):
        if job.label not in verb.allowed:
            msg = f"{job.id} is {job.label}, not {' or '.join(verb.allowed)}; nothing was deleted"
            raise ConflictError(msg)
        states.setdefault(job.label, []).append(job.seq)
    return Found(context, JobFilter(labels=verb.allowed), states)
