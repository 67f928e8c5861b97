"""The commands list, show and cancel."""

from collections.abc import Iterator, Sequence
from functools import partial

from queued.core.dependencies import Dependency
from queued.core.errors import ConflictError, Exit
from queued.core.model import State
from queued.core.records import ANY_JOB, Attempt, Job
from queued.core.times import iso, now_ms, short_duration
from queued.ctl.arguments import COMMON, LIST_OPTIONS, Arguments
from queued.ctl.batches import (
    CHANGE_OPTIONS,
    Verb,
    dry_run,
    found,
    jobs_text,
    move_all,
    named,
    named_batches,
)
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS, OPEN, UNFINISHED, job_filter
from queued.ctl.live_services import BlockReasons
from queued.ctl.render import format_bytes, json_text, print_json, print_out
from queued.ctl.table import Column, heading, key_value_lines, row_lines, table_width

LIST = (
    """\
Usage: queuectl list [options] [--] [JOBS...]

Lists the jobs that are named, or those that match the options. On a terminal:
jobs that run or wait, then dead ones, the newest last, as many as fit. In a
pipe, with --all or -n: all jobs that match, oldest first.

Options:
"""
    + FILTER_OPTIONS
    + LIST_OPTIONS
    + COMMON
    + """
Examples:
  queuectl list --state dead,failed --since 12h
  queuectl list -a -o id,state,exit,ran
"""
)


def list_(context: Context, arguments: Arguments) -> int:
    """Prints the jobs that match."""
    from queued.ctl.job_columns import LIST_COLUMNS
    from queued.ctl.job_table import print_jobs

    return print_jobs(context, arguments, job_filter(arguments), LIST_COLUMNS)


SHOW = (
    """\
Usage: queuectl show [options] [--] JOB

Prints everything about one job: its fields, its options and every attempt.
JOB is an id, the beginning of a generated id if no other id begins so, @last
for the job that was added last, or @-2 for the one before it.
"""
    + COMMON
    + """
Exit code 3: there is no such job.

Examples:
  queuectl show @last
  queuectl show --json job1
"""
)

_ALL = 2**31  # dependencies of a job

ATTEMPT_COLUMNS = (
    Column("#", 3, right=True),
    Column("STARTED", 24),
    Column("RAN", 6, right=True),
    Column("CPU", 6, right=True),
    Column("PEAK", 5, right=True),
    Column("PRINTED", 7, right=True),
    Column("OUTCOME", 0),
)


def show(context: Context, arguments: Arguments) -> int:
    """Prints one job with all its attempts."""
    seq = context.find_one(arguments.text("JOB") or "")
    job, attempts = context.store.show(seq).seen_at(now_ms()), context.store.attempts(seq)
    blocked = BlockReasons(context).of_job(job)
    dependencies = context.store.dependencies(seq, limit=_ALL)
    if context.json:
        from queued.ctl.json_records import full_record

        print_json(full_record(job, attempts, blocked, dependencies))
    else:
        fields = _fields(job, blocked, dependencies)
        print_out("\n".join(_description(job, attempts, fields, table_width())))
    return Exit.DONE


def _description(
    job: Job, attempts: Sequence[Attempt], fields: dict[str, str], width: int
) -> Iterator[str]:
    yield from key_value_lines(fields, width)
    if options := job.options.given():
        yield "\noptions"
        named = {name: json_text(value) for name, value in options.items()}
        yield from key_value_lines(named, width, "  ")
    if attempts:
        yield "\n" + heading(ATTEMPT_COLUMNS, width)
        for attempt in attempts:
            yield from row_lines(ATTEMPT_COLUMNS, _attempt_cells(attempt), width)


def _fields(job: Job, blocked: str, dependencies: Sequence[Dependency]) -> dict[str, str]:
    remark = "cancel requested" if job.cancel_requested_ms else blocked
    error = {} if job.last_error is None else {"last error": job.last_error}
    return {
        "id": job.id,
        "command": job.command,
        "state": f"{job.label} ({remark})" if remark else job.label,
        "attempts": f"{job.attempts} of {job.max_retries} failed, runs: {job.runs}",
        **error,
        "queue": job.queue,
        "priority": str(job.priority),
        **({"requires": ", ".join(sorted(job.requires))} if job.requires else {}),
        **({"labels": job.labels_text} if job.labels else {}),
        **({"key": _key(job)} if job.key else {}),
        **({"unique key": _unique(job)} if job.unique_key else {}),
        **({"expires": iso(job.expires_ms)} if job.expires_ms is not None else {}),
        **_conditions(dependencies),
        **({"next run": iso(job.next_run_at_ms)} if job.state is State.PENDING else {}),
        **({} if job.schedule is None else {"schedule": _firing(job)}),
        **({} if job.array_id is None else {"array": _array(job)}),
        "created": iso(job.created_ms),
        "updated": iso(job.updated_ms),
        **({"submitted by": job.submitted_by} if job.submitted_by else {}),
    }


def _array(job: Job) -> str:
    return f"{job.array_id}" + ("" if job.array_index is None else f", index {job.array_index}")


def _key(job: Job) -> str:
    rate = "" if job.key_rate is None else f", rate {job.key_rate}"
    return f"{job.key} (limit {job.key_limit}{rate})"


def _unique(job: Job) -> str:
    if job.unique_while is None:
        return f"{job.unique_key} (given up)"
    until = "" if job.unique_until_ms is None else f", until {iso(job.unique_until_ms)}"
    return f"{job.unique_key} (while {job.unique_while}{until})"


def _firing(job: Job) -> str:
    at = "run by a user" if job.scheduled_ms is None else f"at {iso(job.scheduled_ms)}"
    return f"{job.schedule}, {at}"


def _conditions(dependencies: Sequence[Dependency]) -> dict[str, str]:
    """Returns the jobs that a job waits for by condition, each with its state."""
    found: dict[str, list[str]] = {}
    for one in dependencies:
        shown = f"{one.id} ({one.label})"
        found.setdefault(one.condition.replace("_", " "), []).append(shown)
    return {condition: ", ".join(shown) for condition, shown in found.items()}


def _attempt_cells(attempt: Attempt) -> tuple[str, ...]:
    peak = "" if attempt.peak_kib is None else format_bytes(attempt.peak_kib * 1024)
    return (
        _numbers(attempt),
        iso(attempt.started_ms),
        _span(attempt.ran_ms),
        _span(attempt.cpu_ms),
        peak,
        format_bytes(attempt.stdout_bytes + attempt.stderr_bytes),
        outcome_text(attempt),
    )


def _numbers(attempt: Attempt) -> str:
    """Returns the number of the run; `3-7` for runs that were deferred in a row."""
    first = attempt.number + 1 - max(attempt.deferrals, 1)
    return str(attempt.number) if first == attempt.number else f"{first}-{attempt.number}"


def _span(ms: int | None) -> str:
    return "" if ms is None else short_duration(ms / 1000)


def outcome_text(attempt: Attempt) -> str:
    """Returns how an attempt ended: `exit 1`, `signal SIGKILL`, `timeout`, `running`."""
    if attempt.outcome is None:
        return "running"
    ended_by = attempt.signal if attempt.exit_code is None else f"{attempt.exit_code}"
    return f"{attempt.outcome} {ended_by}" if ended_by else str(attempt.outcome)


CANCEL = (
    """\
Usage:
  queuectl cancel [options] [--] JOBS...
  queuectl cancel [options]

Cancels jobs: those that are named, or all pending and running ones that match
the options. A pending job is cancelled at once; a running one is stopped with
TERM, and with KILL after its kill_grace. A cancelled job does not run again
unless it is retried (queuectl dlq retry).

Options:
"""
    + FILTER_OPTIONS
    + CHANGE_OPTIONS
    + COMMON
    + """
Exit code 2: several jobs match and --yes is missing; 4: a named job had ended;
the other ones are cancelled.

Examples:
  queuectl cancel job1 job2
  queuectl cancel --queue nightly --state pending --yes
"""
)

_CANCELS = Verb("cancel", "cancelled", UNFINISHED, OPEN)


def cancel(context: Context, arguments: Arguments) -> int:
    """Cancels jobs. Raises ConflictError, which names those that had already ended."""
    if arguments.flag("--dry-run"):
        return dry_run(context, arguments, _CANCELS)
    jobs = named(context, arguments, _CANCELS.infinitive, _CANCELS.default)
    if not jobs:
        return _cancel_found(context, arguments)
    # By the state after the request; None if the job had already ended.
    moved: dict[State | None, list[str]] = {State.CANCELLED: [], State.PROCESSING: [], None: []}
    for batch in named_batches(jobs):
        states = dict(context.store.cancel_all(batch, ANY_JOB, now_ms=now_ms()))
        for seq in batch:
            job = context.store.show(seq)
            state = states.get(job.id) or context.store.cancel(seq, now_ms=now_ms())
            context.changed += state is not None
            moved[state].append(job.id if state else f"{job.id} is already {job.label}")
            if state and not context.json:
                print_out(f"{job.id}{_CANCELLED[state]}")
    if context.json:
        print_json({"cancelled": moved[State.CANCELLED], "asked": moved[State.PROCESSING]})
    if moved[None]:
        raise ConflictError(", ".join(moved[None]))
    return Exit.DONE


_CANCELLED = {
    State.CANCELLED: " cancelled",
    State.PROCESSING: ": cancel requested; it is still running",
}


def _cancel_found(context: Context, arguments: Arguments) -> int:
    """Cancels the jobs that match the options."""
    chosen = found(context, arguments, _CANCELS)
    moved = move_all(_CANCELS, chosen, partial(context.store.cancel_all, now_ms=now_ms()))
    cancelled = [name for name, state in moved if state is State.CANCELLED]
    asked = [name for name, state in moved if state is State.PROCESSING]
    if context.json:
        print_json({"cancelled": cancelled, "asked": asked})
    else:
        running = "more is" if len(asked) == 1 else "more are"
        ending = f"; {len(asked):,} {running} still running and will be stopped" if asked else ""
        print_out(f"{jobs_text(len(cancelled))} cancelled{ending}")
    return Exit.DONE
