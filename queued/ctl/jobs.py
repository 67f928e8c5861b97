"""The commands about jobs: list, show, cancel, status."""

from collections.abc import Iterator, Sequence

from queued.core.errors import ConflictError, Exit
from queued.core.model import Attempt, Job, Label, State, Summary
from queued.core.times import iso, now_ms, short_duration
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import (
    Column,
    heading,
    json_text,
    pairs,
    put,
    put_json,
    row,
    say,
    size,
    width_here,
)

LIST = (
    """\
Usage: queuectl list [options]

Jobs in the order in which they were enqueued. On a terminal it stops after a
screenful; --limit and a pipe do not.

Options:
  --state STATE        pending (with scheduled and failed), scheduled (not
                       yet due), failed (waits for a retry), processing,
                       completed, dead or cancelled
  --queue QUEUE        of this queue only
  --limit N            the first N only
  --reverse            newest first
"""
    + COMMON
)


def list_(context: Context, arguments: Arguments) -> int:
    """Streams the jobs that match."""
    from queued.ctl.job_table import label_of, put_jobs

    return put_jobs(context, arguments, label_of(arguments.text("--state")))


SHOW = (
    """\
Usage: queuectl show [options] [--] JOB

Everything about one job: its fields, its options and every attempt. An id that
queued made may be cut short, here and in every command, as long as no other
begins so; a name that you gave may not.

Options:
"""
    + COMMON
)

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
    (seq,) = context.find([arguments.text("JOB") or ""])
    job, attempts = context.store.show(seq).seen_at(now_ms()), context.store.attempts(seq)
    if context.json:
        from queued.ctl.json_records import full_record

        put_json(full_record(job, attempts))
    else:
        put("\n".join(_description(job, attempts, width_here())))
    return Exit.DONE


def _description(job: Job, attempts: Sequence[Attempt], width: int) -> Iterator[str]:
    yield from pairs(_fields(job), width)
    if options := job.options.given():
        yield "\noptions"
        named = ((name, json_text(value)) for name, value in options.items())
        yield from pairs(named, width, "  ")
    if attempts:
        yield "\n" + heading(ATTEMPT_COLUMNS, width)
        for attempt in attempts:
            yield from row(ATTEMPT_COLUMNS, _attempt_cells(attempt), width)


def _fields(job: Job) -> Iterator[tuple[str, str]]:
    yield "id", job.id
    yield "command", job.command
    asked = " (asked to end)" if job.cancel_requested_ms else ""
    yield "state", job.label + asked
    yield "attempts", f"{job.attempts} of {job.max_retries} failed, run {job.runs} times"
    if job.last_error is not None:
        yield "last error", job.last_error
    yield "queue", job.queue
    yield "priority", str(job.priority)
    yield "next run", iso(job.next_run_at_ms)
    yield "created", iso(job.created_ms)
    yield "updated", iso(job.updated_ms)


def _attempt_cells(attempt: Attempt) -> tuple[str, ...]:
    peak = "" if attempt.peak_kib is None else size(attempt.peak_kib * 1024)
    return (
        str(attempt.number),
        iso(attempt.started_ms),
        _span(attempt.ran_ms),
        _span(attempt.cpu_ms),
        peak,
        size(attempt.stdout_bytes + attempt.stderr_bytes),
        outcome(attempt),
    )


def _span(ms: int | None) -> str:
    return "" if ms is None else short_duration(ms / 1000)


def outcome(attempt: Attempt) -> str:
    """How an attempt ended, shortly: `exit 1`, `signal SIGKILL`, `timeout`, `running`."""
    if attempt.outcome is None:
        return "running"
    ended_by = attempt.signal if attempt.exit_code is None else f"{attempt.exit_code}"
    return f"{attempt.outcome} {ended_by}" if ended_by else str(attempt.outcome)


CANCEL = (
    """\
Usage: queuectl cancel [options] [--] JOBS...

Ends jobs for good. A pending job ends at once; a running one is asked to end:
TERM, then KILL after its kill_grace. They are never retried, unless you name
them to `queuectl dlq retry`.

Options:
"""
    + COMMON
)


def cancel(context: Context, arguments: Arguments) -> int:
    """Cancels all that still can be. Raises ConflictError for those that had ended before."""
    moved: dict[State | None, list[str]] = {State.CANCELLED: [], State.PROCESSING: [], None: []}
    for seq in context.find(arguments.texts("JOBS")):
        verdict = context.store.cancel(seq, now_ms=now_ms())
        job = context.store.show(seq)
        moved[verdict].append(job.id if verdict else f"{job.id} is {job.label} already")
        if verdict and not context.json:
            put(f"{job.id} {'cancelled' if verdict is State.CANCELLED else 'is asked to end'}")
    if context.json:
        put_json({"cancelled": moved[State.CANCELLED], "asked": moved[State.PROCESSING]})
    if moved[None]:
        raise ConflictError(", ".join(moved[None]) + "; too late to cancel")
    return Exit.DONE


STATUS = (
    """\
Usage: queuectl status [options]

How many jobs stand where, the workers that live, and how long the oldest job
that could run now has been due.

Options:
"""
    + COMMON
)


def status(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands are called alike
    """Prints the counts of the jobs and of the workers."""
    from queued.ctl.workers import alive

    now = now_ms()
    summary = context.store.status(now_ms=now)
    instances = {instance.id for instance in alive(context)}
    workers = sum(worker.instance in instances for worker in context.store.workers())
    if context.json:
        put_json(_status_record(summary, workers, len(instances), now))
    else:
        put("\n".join(_status_lines(summary, workers, len(instances), now)))
        if not instances:
            say("no service runs (start one with: queuectl worker start)")
    return Exit.DONE


def _status_record(summary: Summary, workers: int, instances: int, now: int) -> dict[str, object]:
    return {
        **{str(label): count for label, count in summary.counts.items()},
        "workers": workers,
        "instances": instances,
        "oldest_age": _age_s(summary, now),
    }


def _age_s(summary: Summary, now: int) -> float | None:
    due = summary.oldest_due_ms
    return None if due is None else max(0, now - due) / 1000


_REMARKS = {
    Label.PENDING: "of which",
    Label.SCHEDULED: "not due yet",
    Label.FAILED: "wait for a retry",
}


def _status_lines(summary: Summary, workers: int, instances: int, now: int) -> Iterator[str]:
    for label in Label:
        name = f"  {label}" if label in {Label.SCHEDULED, Label.FAILED} else label
        yield _count(name, str(summary.counts[label]), _REMARKS.get(label, ""))
    services = f"in {instances} service{'' if instances == 1 else 's'}" if instances else ""
    yield _count("workers", str(workers), services)
    age_s = _age_s(summary, now)
    if age_s is not None:
        yield _count("oldest due", short_duration(age_s), "ago, of those that could run now")


def _count(name: str, count: str, remark: str) -> str:
    return f"{name:<12}{count:>9}  {remark}".rstrip()
