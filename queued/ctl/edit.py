"""The commands edit and rerun: change jobs that wait, and add jobs like those that have ended."""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from queued.core.errors import ConflictError, Exit, NotFoundError, UsageError
from queued.core.job_changes import JobChanges, changed, job_changes
from queued.core.job_spec import like
from queued.core.model import ENDED, ExistingJob, Label, OnTakenKey, State
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
from queued.ctl.enqueue import QUEUE_OPTIONS, RUN_OPTIONS
from queued.ctl.filters import FILTER_OPTIONS, WAITING
from queued.ctl.render import print_err, print_json, print_out

# What identifies a job, and what other verbs change, is not edited.
_FIXED = {"hold", "in", "unique-key", "unique-while", "unique-for", "here", "stdin"}
_FIXED |= {"key", "on-conflict"}
_OPTIONS = re.findall(r"^  (?:-., )?--([a-z-]+)", QUEUE_OPTIONS + RUN_OPTIONS, re.MULTILINE)
_FIELDS = ("command", "run-at", *(name for name in _OPTIONS if name not in _FIXED), "unset-env")
_REPEATABLE = ("env", "label", "limit")
_EMPTIED = {"env": "env", "limit": "limits"}  # removed as a whole by an empty value
_TIMES = ("run-at", "delay", "expires-at", "expires-in", "deadline")
_TRUTH = {"true": True, "false": False}

SET_OPTION = """\
  --set FIELD          NAME=VALUE, repeatable: command=CMD, or as an option of
                       enqueue: queue=q, env=A=1, label=K=V, limit=files=9, but
                       not those of an id, keys, stdin and dependencies;
                       label=K removes a label, unset-env=A a variable;
                       key-limit=N is also the number after % of an array
"""
EDIT = (
    """\
Usage:
  queuectl edit [options] [--set FIELD]... [--] JOBS...
  queuectl edit [options] [--set FIELD]...

Changes jobs that wait, also for a retry: those that are named, or all that
match the options. If only note and label are set, the jobs may also run or have
ended. What is not given stays as it is; variables, limits and labels are added
to those of the job. An empty value removes an option, as timeout= does. Over
PostgreSQL it needs the role of an operator.

Options:
"""
    + SET_OPTION
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a job runs or has
ended, or the queue takes no new jobs.

Examples:
  queuectl edit --set priority=9 job1
  queuectl --db /srv/q.db edit --set note='40 of 100' "$QUEUED_JOB_ID"
  queuectl edit --set key-limit=20 array1
  queuectl edit --set delay=1h --set timeout=10m --queue nightly --yes
"""
)

_EDITS = Verb("edit", "edited", (Label.PENDING,), WAITING)
_NOTES = _EDITS._replace(default=tuple(map(Label, State)), allowed=tuple(Label))


def edit(context: Context, arguments: Arguments) -> int:
    """Changes jobs. Raises ConflictError, which names those that do not wait."""
    changes = _changes(arguments.texts("--set"))
    if changes is None:
        msg = "edit needs --set, which says what to change, such as --set priority=9"
        raise UsageError(msg)

    def change(jobs: Sequence[int], wanted: JobFilter) -> Sequence[str]:
        return context.store.edits.edit(jobs, changes, wanted, now_ms=now_ms())

    verb = _NOTES if changes.any_state else _EDITS
    return move_jobs(context, arguments, Move(verb, change, "cannot be edited"))


def _changes(texts: Sequence[str]) -> JobChanges | None:
    """Returns the changes that NAME=VALUE texts describe, as options of enqueue would."""
    from queued.ctl.shell_job import fields

    if not texts:
        return None
    repeated: dict[str, list[str]] = {name: [] for name in _REPEATABLE}
    removed: dict[str, list[str]] = {"label": [], "unset-env": []}
    options, plain = dict[str, object](), dict[str, object]()
    for text in texts:
        name, value = _name_and_value(text)
        if name in removed and "=" not in value:
            removed[name].append(value)
        elif name in _EMPTIED and not value:
            plain[_EMPTIED[name]] = value
        elif name in repeated:
            repeated[name].append(value)
        elif name in ("leave-children", "split"):
            plain[name.replace("-", "_")] = _TRUTH.get(value, value)
        elif name == "command":
            plain[name] = value
        elif name == "requires" and not value:
            plain[name] = []
        else:
            options[f"--{name}"] = value
    options |= {f"--{name}": texts for name, texts in repeated.items()}
    given = fields(Arguments(options))
    if both := {*given, *(["env"] if removed["unset-env"] else [])} & plain.keys():
        msg = f"--set removes {both.pop()} and changes it; give one of them"
        raise UsageError(msg)
    return job_changes(given | plain, removed["label"], removed["unset-env"])


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.replace("_", "-")
    if not equals:
        msg = f"--set takes NAME=VALUE, not {shorten(text)}"
        raise UsageError(msg)
    if name not in _FIELDS:
        hint = did_you_mean(name, _FIELDS) or f"; its fields are {', '.join(_FIELDS)}"
        msg = f"--set has no field {shorten(name)}{hint}"
        raise UsageError(msg)
    if name in _TIMES and not value:
        msg = f"--set {name}=: it cannot be removed; give another time"
        raise UsageError(msg)
    if name == "unset-env" and "=" in value:
        msg = f"--set unset-env takes the name of a variable, not {shorten(value)}"
        raise UsageError(msg)
    return name, value


RERUN = (
    """\
Usage:
  queuectl rerun [options] [--set FIELD]... [--] JOBS...
  queuectl rerun [options] [--set FIELD]...

Adds a new job like each of the jobs that are named, or that match the options
and have ended, and prints the ids of the new jobs. Start time, expiry, deadline
and what a job waited for are not repeated; the option rerun_of of the new job
names the old one, which stays as it is. Jobs that only match are left out if
their unique key is taken. To run a dead job itself again, use queuectl dlq
retry. With --set the new jobs differ from the old ones.

Options:
"""
    + SET_OPTION
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a named job has not
ended, or its unique key is taken; nothing is added.

Examples:
  queuectl rerun job1
  queuectl rerun --set timeout=2h --set priority=5 job1
  queuectl rerun --state dead --since 12h --yes
"""
)

_RERUNS = Verb("rerun", "rerun", ENDED, ENDED)


def rerun(context: Context, arguments: Arguments) -> int:
    """Adds jobs like the named ones, all or none, or like those found. Raises ConflictError."""
    changes = _changes(arguments.texts("--set"))
    if arguments.flag("--dry-run"):
        return dry_run(context, arguments, _RERUNS)
    rows = named(context, arguments, _RERUNS.infinitive, _RERUNS.default)
    if rows:
        jobs = [context.store.show(row) for row in rows]
        _must_have_ended(jobs)
        added = _add_like(context, jobs, "fail", changes)
        context.changed = len(added)
    else:
        found_jobs = found(context, arguments, _RERUNS)
        added = move_all(_RERUNS, found_jobs, partial(_add_like_found, context, changes))
        if not found_jobs.total():
            print_err("queuectl: nothing to rerun: no job matches")
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
    context: Context, changes: JobChanges | None, rows: Sequence[int], wanted: JobFilter
) -> list[tuple[str, str]]:
    """Adds jobs like those that were not retried or removed since they were found."""
    jobs = list[Job]()
    for row in rows:
        with suppress(NotFoundError):
            jobs.append(context.store.show(row))
    ended = [job for job in jobs if job.label in wanted.labels]
    return _add_like(context, ended, "keep", changes)


def _add_like(
    context: Context, jobs: Sequence[Job], how: OnTakenKey, changes: JobChanges | None
) -> list[tuple[str, str]]:
    """Adds a job like each, all in one transaction; returns the ids of the old and new jobs."""
    store = context.store
    new = [like(job, store.edits.input(job.seq)) for job in jobs]
    if changes is not None:
        new = [changed(job, changes) for job in new]
    ids = store.enqueue(new, max_retries=1, now_ms=now_ms(), on_taken_key=how)
    pairs = zip(jobs, ids, strict=True)
    return [(job.id, name) for job, name in pairs if not isinstance(name, ExistingJob)]
