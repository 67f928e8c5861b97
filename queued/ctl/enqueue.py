"""The command enqueue: adds a job from words or JSON, or many jobs from standard input."""

import os
import sys
from collections.abc import Sequence

from queued.core import labels
from queued.core.errors import (
    ConflictError,
    DuplicateJobError,
    Exit,
    StorageError,
    TakenKeyError,
    UsageError,
)
from queued.core.job_spec import new_job
from queued.core.model import CONDITIONS, ExistingJob, NewJob, OnTakenKey
from queued.core.times import iso, now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.render import print_err, print_json, print_out

# The options that `schedule add` and `schedule edit` take, too.
QUEUE_OPTIONS = """\
  -q, --queue QUEUE    the queue (default)
  -p, --priority N     jobs of the queue with a higher number start first (0)
  --slots N            places of its queue's --concurrency that it takes (1)
  --requires LABELS    run only by a service with all of these: gpu,zone=a
  --host NAME          run only on this host: short for --requires host:NAME
"""
RUN_OPTIONS = """\
  --delay T            not before T from now: seconds, 500ms, 1h30m, "5 min", 1w
  --in T               the same as --delay
  --hold               not before queuectl release
  --expires-at TIME    not started from this time on: the job is dead then
  --expires-in T       the same for T from now
  --deadline TIME      not running after this time, nor started or retried

  --label LABEL        NAME=VALUE, for people and filters; repeatable
  --note TEXT          a line of text, for people

Key options:
  --key KEY            run few jobs with this key at once, in the order of a
                       queue
  --key-limit N        how many: this job starts while fewer than N run (1; with
                       --key-rate 1000)
  --key-rate N/TIME    how many jobs of the key with a rate may start in any
                       interval of this length: 10/minute, 5/30s
  --on-conflict WHAT   if so many are due or run when it is added: wait, or
                       discard it, and print the id of one of them (wait)

Unique options:
  --unique-key KEY     add no second job with this key: the id of the first one
                       is printed
  --unique-while WHEN  while the first one is waiting (for its first run), is
                       active (waits or runs), or any: until it is removed
                       (active)
  --unique-for T       at most for T from now

Retry options:
  --max-retries N      runs in all if each fails (3: one run and two retries)
  --backoff-base X     a retry waits X ** attempts seconds
  --backoff-max T      the longest wait before a retry
  --backoff-jitter X   changes that wait at random by up to this fraction
  --no-retry-on CODES  exit codes after which the job is dead at once: 2,64
  --cancel-on CODES    exit codes that cancel the job: no failure, retry or hook
  --defer-on CODES     exit codes that mean "not now" and do not count as failed
  --defer-delay T      the first wait after such a code (30s); it grows as a
                       backoff does

Hook options:
  --on-dead CMD        a command for sh to enqueue if the job becomes dead; ''
                       switches the setting on_dead off for this job
  --on-completed CMD   the same if the job completes

Run options:
  --timeout T          the longest time that a run may take
  --warn-signal WARN   a signal for the run some time before its limit: USR1@60
  --kill-grace T       the time between TERM and KILL when a run is stopped
  --leave-children     do not stop processes that outlive the command
  --cwd DIR            the working directory
  --umask MASK         the file mode mask, for example 022
  --here               the current directory and file mode mask of queuectl;
                       --cwd and --umask take precedence
  --nice N             the niceness
  --split              store standard output and standard error separately
  --output-limit N     the bytes of each stream that are kept
  --stdin FILE         the standard input of each run; - is that of queuectl; at
                       most 1 MiB, which the database keeps
  --env VAR            NAME=VALUE, or NAME for its current value; repeatable
  --limit LIMIT        memory=512M, cpu=SECONDS, files=N or processes=N;
                       repeatable
"""
ENQUEUE = (
    """\
Usage:
  queuectl enqueue [options] [--env VAR]... [--limit LIMIT]...
           [--label LABEL]... [--after JOB]... [--after-any JOB]...
           [--after-fail JOB]... [--after-index ARRAY]... [--] COMMAND...

Adds a job and prints its id. A COMMAND of one word is a line for sh, with pipes
and $VARS; several words are one program with exactly these arguments. One word
that begins with { is a job in JSON; its fields are the options up to --limit,
without --here and --host, such as max_retries; env and limits are objects. A
single - reads one JSON job per line from standard input and adds all of them or
none. With --skip-existing, an interrupted list of jobs with ids can be read
again. For a COMMAND, $QUEUECTL_QUEUE is the queue if --queue is not given.

Options:
  --id ID              the id of the job (default: a generated one)
"""
    + QUEUE_OPTIONS
    + """\
  --array INDEXES      a job for each index (1-100, 1,3,5 or 0-15:4), at most
                       10,000, with $QUEUED_ARRAY_INDEX and $QUEUED_ARRAY_ID;
                       1-100%10 runs ten at once. Prints the id of the array;
                       its jobs have ids such as ARRAY_1
  --after JOB          not before this job, or all jobs of this array, have
                       completed; repeatable, and so are the next two. If the
                       other job is dead or cancelled, this one is cancelled;
                       dlq retry of the other one makes it wait again
  --after-any JOB      not before this job has ended, whatever its end
  --after-fail JOB     not before this job is dead
  --after-index ARRAY  each job of --array not before the job of this array with
                       the same index has completed; repeatable
  --run-at TIME        not before this time: 03:00, "tomorrow 9am", "mon 18:00",
                       "2026-12-01 03:00 Europe/Berlin", 2026-12-01T02:00Z,
                       or seconds since 1970; without a zone it is local time
  --at TIME            the same as --run-at
"""
    + RUN_OPTIONS
    + """\

Options that are no fields:
  --dry-run            check the jobs, print their commands, and add nothing;
                       ids, unique keys and draining queues are not looked up
  --skip-existing      skip jobs of - whose ids exist, and count them
  --fail-if-exists     add nothing, and exit with 4, if a unique key is taken
  --replace            cancel the job that has the unique key, if it waits
  --wait               print the output until the job ends, and exit with its
                       exit code; Ctrl+C cancels the job
"""
    + COMMON
    + """
Exit code 4: the id exists; with --fail-if-exists, the unique key is taken.
Exit code 74: a disk error; or jobs were added, but standard output cannot be
written; or a server did not confirm them. The message names these jobs.

Examples:
  queuectl enqueue --max-retries 5 'curl -sf https://example.org | tee page'
  queuectl enqueue '{"command": "sleep 2", "priority": 5}'
"""
)


def enqueue(context: Context, arguments: Arguments) -> int:
    """Adds the given jobs, all or none, and prints their ids."""
    words = arguments.texts("COMMAND")
    waits = arguments.flag("--wait")
    on_taken_key = _on_taken_key(arguments)
    if arguments.flag("--skip-existing") and (words[0] != "-" or arguments.flag("--")):
        msg = (
            "--skip-existing is for a list of jobs: queuectl enqueue --skip-existing - < jobs.jsonl"
        )
        raise UsageError(msg)
    if arguments.flag("--"):
        jobs = _jobs_of_words(context, arguments)
    else:
        from queued.ctl.json_jobs import decoded, must_be_json

        must_be_json(arguments, words)
        if words[0] == "-":
            skips = arguments.flag("--skip-existing")
            return _enqueue_lines(context, arguments, on_taken_key, skip_existing=skips)
        from queued.core.arrays import new_jobs

        jobs = new_jobs(decoded(words[0]))
    array_id = jobs[0].array_id
    if waits and array_id is not None:
        msg = "--wait takes one job; to wait for an array, use queuectl wait"
        raise UsageError(msg)
    _must_have_unique_key(jobs[0], on_taken_key)
    if arguments.flag("--dry-run"):
        return _print_commands(context, jobs)
    ids = _store(context, jobs, on_taken_key=on_taken_key)
    _note_past(jobs)
    note_existing(ids)
    if waits:
        from queued.ctl.enqueue_wait import show_until_end

        return show_until_end(context, ids[0])
    if array_id is not None:
        _acknowledge(context, [array_id], {"id": array_id, "ids": ids}, jobs)
    else:
        acknowledge_one(context, ids[0], jobs[0])
    return Exit.DONE


def _jobs_of_words(context: Context, arguments: Arguments) -> Sequence[NewJob]:
    from queued.ctl.shell_job import payload

    given = payload(arguments)
    if queue := os.environ.get("QUEUECTL_QUEUE"):
        given.setdefault("queue", queue)
    for condition in CONDITIONS & given.keys():
        given[condition] = context.ids(arguments.texts(f"--{condition.replace('_', '-')}"))
    if "array" not in given:
        return [new_job(given)]
    from queued.core.arrays import new_jobs

    return new_jobs(given)


def acknowledge_one(context: Context, name: str, job: NewJob) -> None:
    """Prints the id of a job that was added, or of the one because of which it was not."""
    existing = {"existing": isinstance(name, ExistingJob)} if _may_exist(job) else {}
    _acknowledge(context, [name], {"id": name, **existing}, [job])


def _may_exist(job: NewJob) -> bool:
    """Returns whether the id of another job may be the result of adding the job."""
    return job.unique_key is not None or job.on_conflict == "discard"


def _on_taken_key(arguments: Arguments) -> OnTakenKey:
    fails, replaces = arguments.flag("--fail-if-exists"), arguments.flag("--replace")
    if fails and replaces:
        msg = "--fail-if-exists and --replace exclude each other"
        raise UsageError(msg)
    return "fail" if fails else "replace" if replaces else "keep"


def _must_have_unique_key(job: NewJob, on_taken_key: OnTakenKey) -> None:
    if on_taken_key != "keep" and job.unique_key is None:
        option = "--replace" if on_taken_key == "replace" else "--fail-if-exists"
        msg = f"{option} needs --unique-key, or unique_key in the JSON"
        raise UsageError(msg)


def _acknowledge(
    context: Context, ids: Sequence[str], record: object, jobs: Sequence[NewJob]
) -> None:
    """Prints the ids, then a warning if no service runs, or none that can run one of the jobs.

    Raises StorageError that names the added jobs if standard output cannot be written.
    """
    from queued.ctl.live_services import warn_without_service

    try:
        if context.json:
            print_json(record)
        else:
            print_out("\n".join(ids))
        sys.stdout.flush()
    except OSError as error:
        added = f"{len(ids)} jobs were added, {ids[0]} to {ids[-1]}"
        added = f"the job {ids[0]} was added" if len(ids) == 1 else added
        msg = f"{added}, but standard output cannot be written: {error.strerror}"
        raise StorageError(msg) from None
    warn_without_service(context, [labels.split(text) for text in {job.requires for job in jobs}])


def _store(
    context: Context,
    jobs: Sequence[NewJob],
    *,
    skip_existing: bool = False,
    on_taken_key: OnTakenKey,
) -> Sequence[str]:
    max_retries = int(context.sources()["default_max_retries"].value)
    return context.store.enqueue(
        jobs,
        max_retries=max_retries,
        now_ms=now_ms(),
        skip_existing=skip_existing,
        on_taken_key=on_taken_key,
    )


def note_existing(ids: Sequence[str]) -> None:
    """Says that jobs were not added, because other jobs have or use their keys."""
    existing = [name for name in ids if isinstance(name, ExistingJob)]
    if len(ids) == 1 and existing:
        print_err(f"queuectl: not added: the job {existing[0]} {existing[0].why}")
    elif existing:
        from queued.ctl.batches import jobs_text

        print_err(f"queuectl: {jobs_text(len(existing))} not added: their keys are in use")


def _note_past(jobs: Sequence[NewJob]) -> None:
    """Says that jobs do not wait, because their time was more than a minute ago."""
    before_ms = now_ms() - 60_000
    times_ms = [job.run_at_ms for job in jobs if job.run_at_ms is not None]
    past = [time_ms for time_ms in times_ms if time_ms < before_ms]
    if past:
        which = "" if len(jobs) == 1 else f" of {len(past)} jobs"
        since = f"{'' if len(past) == 1 else 'since '}{iso(min(past))}"
        print_err(f"queuectl: run_at{which} is in the past ({since}); nothing is delayed")


def _print_commands(context: Context, jobs: Sequence[NewJob]) -> int:
    from queued.ctl.batches import print_dry_run

    return print_dry_run(context, "commands", [job.command for job in jobs], "added")


def _enqueue_lines(
    context: Context, arguments: Arguments, on_taken_key: OnTakenKey, *, skip_existing: bool
) -> int:
    """Reads all of standard input before any job is stored."""
    from queued.ctl.json_jobs import read_lines, show_progress

    jobs, line_numbers = read_lines()
    if arguments.flag("--dry-run"):
        return _print_commands(context, jobs)
    ids: Sequence[str] = ()
    if jobs:
        show_progress(len(jobs), last=True)
        try:
            ids = _store(context, jobs, skip_existing=skip_existing, on_taken_key=on_taken_key)
        except (DuplicateJobError, TakenKeyError) as error:
            raise _refused_line(error, line_numbers[error.index]) from None
    _note_past(jobs)
    note_existing(ids)
    existing = [name for name in ids if isinstance(name, ExistingJob)]
    record: dict[str, object] = {"ids": ids}
    record |= {"skipped": len(jobs) - len(ids)} if skip_existing else {}
    record |= {"existing": existing} if any(map(_may_exist, jobs)) else {}
    if ids:
        _acknowledge(context, ids, record, jobs)
    elif context.json:
        print_json(record)
    if not jobs:
        print_err("queuectl: standard input contains no job")
    elif skip_existing:
        added, skipped = len(ids) - len(existing), len(jobs) - len(ids)
        from queued.ctl.batches import jobs_text

        print_err(f"queuectl: {jobs_text(added)} added, {skipped} skipped: their ids exist")
    return Exit.DONE


def _refused_line(error: DuplicateJobError | TakenKeyError, line_no: int) -> ConflictError:
    hint = ", or give --skip-existing" if isinstance(error, DuplicateJobError) else ""
    return ConflictError(f"line {line_no}: {error}{hint}; nothing was added")
