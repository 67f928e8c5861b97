"""The commands edit and rerun: change jobs that wait, and add jobs like those that have ended."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from queued.core.errors import ConflictError, Exit, NotFoundError, UsageError
from queued.core.job_spec import job_changes, like
from queued.core.model import ENDED, ExistingJob, JobChanges, Label, OnTakenKey
from queued.core.records import Job, JobFilter
from queued.core.suggestions import did_you_mean, shorten
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.batches import (
    CHANGE_OPTIONS,
    Move,
    Verb,
    dry_run,
    found,
    move_all,
    move_jobs,
    named,
)
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS, WAITING
from queued.ctl.render import print_json, print_out

_FIELDS = (
    *("command", "queue", "priority", "run-at", "delay", "timeout", "max-retries"),
    *("cwd", "note", "env", "label"),
)
_REPEATABLE = ("--env", "--label")

EDIT = (
    """\
Usage:
  queuectl edit [options] [--set FIELD]... [--] JOBS...
  queuectl edit [options] [--set FIELD]...

Changes jobs that wait, also for a retry: those that are named, or all that
match the options. What is not given stays as it is; variables and labels are
added to those of the job. An empty value removes a timeout or a note. Over
PostgreSQL it needs the role of an operator.

Options:
  --set FIELD          NAME=VALUE, repeatable: command, queue, priority, run-at,
                       delay, timeout, max-retries, cwd, note, env and label,
                       as these options of enqueue; env=A=1, label=K=V
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a job runs or has
ended.

Examples:
  queuectl edit --set priority=9 job1
  queuectl edit --set delay=1h --set timeout=10m --queue nightly --yes
"""
)

_EDITS = Verb("edit", "edited", (Label.PENDING,), WAITING)


def edit(context: Context, arguments: Arguments) -> int:
    """Changes jobs. Raises ConflictError, which names those that do not wait."""
    changes = _changes(arguments.texts("--set"))

    def change(jobs: Sequence[int], wanted: JobFilter) -> Sequence[str]:
        return context.store.edits.edit(jobs, changes, wanted, now_ms=now_ms())

    return move_jobs(context, arguments, Move(_EDITS, change, "cannot be edited"))


def _changes(texts: Sequence[str]) -> JobChanges:
    """Returns the changes that NAME=VALUE texts describe, as options of enqueue would."""
    from queued.ctl.shell_job import fields

    if not texts:
        msg = "edit needs --set, which says what to change, such as --set priority=9"
        raise UsageError(msg)
    options: dict[str, object] = {name: [] for name in _REPEATABLE}
    for text in texts:
        name, equals, value = text.partition("=")
        option = "--" + name.replace("_", "-")
        if not equals or option[2:] not in _FIELDS:
            hint = did_you_mean(option[2:], _FIELDS) or f" (NAME: {', '.join(_FIELDS)})"
            msg = f"--set takes NAME=VALUE, not {shorten(text)}{hint}"
            raise UsageError(msg)
        if option in _REPEATABLE:
            options[option] = [*Arguments(options).texts(option), value]
        else:
            options[option] = value
    command = {"command": options["--command"]} if "--command" in options else {}
    return job_changes(command | fields(Arguments(options)))


RERUN = (
    """\
Usage:
  queuectl rerun [options] [--] JOBS...
  queuectl rerun [options]

Adds a new job like each of the jobs that are named, or that match the options
and have ended, and prints the ids of the new jobs. Start time, expiry, deadline
and what a job waited for are not repeated; the option rerun_of of the new job
names the old one, which stays as it is. Jobs that only match are left out if
their unique key is taken. To run a dead job itself again, use queuectl dlq
retry.

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a named job has not
ended, or its unique key is taken; nothing is added.

Examples:
  queuectl rerun job1
  queuectl rerun --state dead --since 12h --yes
"""
)

_RERUNS = Verb("rerun", "rerun", ENDED, ENDED)


def rerun(context: Context, arguments: Arguments) -> int:
    """Adds jobs like the named ones, all or none, or like those found. Raises ConflictError."""
    if arguments.flag("--dry-run"):
        return dry_run(context, arguments, _RERUNS)
    rows = named(context, arguments, _RERUNS.infinitive, _RERUNS.default)
    if rows:
        jobs = [context.store.show(row) for row in rows]
        _must_have_ended(jobs)
        added = _add_like(context, jobs, "fail")
    else:
        found_jobs = found(context, arguments, _RERUNS)
        added = move_all(_RERUNS, found_jobs, partial(_add_like_found, context))
    if context.json:
        print_json(dict(added))
    elif added:
        print_out("\n".join(name for _, name in added))
    return Exit.DONE


def _must_have_ended(jobs: Sequence[Job]) -> None:
    if running := [job for job in jobs if job.label not in ENDED]:
        msg = ", ".join(f"{job.id} is {job.label}, it has not ended" for job in running)
        raise ConflictError(msg)


def _add_like_found(
    context: Context, rows: Sequence[int], wanted: JobFilter
) -> list[tuple[str, str]]:
    """Adds jobs like those that were not retried or removed since they were found."""
    jobs = list[Job]()
    for row in rows:
        with suppress(NotFoundError):
            jobs.append(context.store.show(row))
    return _add_like(context, [job for job in jobs if job.label in wanted.labels], "keep")


def _add_like(context: Context, jobs: Sequence[Job], how: OnTakenKey) -> list[tuple[str, str]]:
    """Adds a job like each, all in one transaction; returns the ids of the old and new jobs."""
    store = context.store
    new = [like(job, store.edits.input(job.seq)) for job in jobs]
    ids = store.enqueue(new, max_retries=1, now_ms=now_ms(), on_taken_key=how)
    pairs = zip(jobs, ids, strict=True)
    return [(job.id, name) for job, name in pairs if not isinstance(name, ExistingJob)]
