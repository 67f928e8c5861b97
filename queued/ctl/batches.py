"""The jobs that a command changes: named one by one, or found by a filter and changed in batches.

A batch is one transaction. After it the command pauses as long as it took, so that services and
other programs can write.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from queued.core.errors import ConflictError, Exit, NoMatchError, UsageError
from queued.core.model import Label
from queued.core.records import ANY_JOB, Job, JobFilter
from queued.core.times import monotonic_s, now_ms
from queued.ctl.arguments import Arguments
from queued.ctl.context import Context
from queued.ctl.filters import is_filtered, job_filter
from queued.ctl.render import escaped, print_err, print_json, print_out, progress

CHANGE_OPTIONS = """\
  -a, --all            all of them; needed if no other option restricts them
  --dry-run            print the ids of these jobs and change nothing
  --yes                needed if a filter finds more than one job
"""

T = TypeVar("T")

_BATCH = 200

Change = Callable[[Sequence[int], JobFilter], tuple[int, bool]]


class Verb(NamedTuple):
    """What a command does with jobs, in messages, and the states that it is for.

    `allowed`: the states that `--state` takes; `default`: those without it.
    """

    infinitive: str
    participle: str
    default: tuple[Label, ...]
    allowed: tuple[Label, ...]


class Move(NamedTuple):
    """What a command does with jobs: `change` returns the ids of those that it has changed.

    `refusal` says of a named job why it was not changed, `suffix` what was done to it.
    """

    verb: Verb
    change: Callable[[Sequence[int], JobFilter], Sequence[str]]
    refusal: str
    suffix: str = ""


class Found(NamedTuple):
    """The jobs that a filter has found, by the state that they had."""

    context: Context
    wanted: JobFilter
    jobs: Mapping[Label, Sequence[int]]

    def total(self) -> int:
        """Returns their number."""
        return sum(map(len, self.jobs.values()))


def move_jobs(context: Context, arguments: Arguments, move: Move) -> int:
    """Changes the jobs that are named or found. Returns an exit code.

    Raises ConflictError, which names those of the named jobs that were not changed.
    """
    if arguments.flag("--dry-run"):
        return dry_run(context, arguments, move.verb)
    jobs = named(context, arguments, move.verb.infinitive, move.verb.default)
    if jobs:
        return _move_named(context, jobs, move)
    ids = move_all(move.verb, found(context, arguments, move.verb), move.change)
    if context.json:
        print_json({move.verb.participle: ids})
    else:
        print_out(f"{jobs_text(len(ids))} {move.verb.participle}")
    return Exit.DONE


def _move_named(context: Context, jobs: Sequence[int], move: Move) -> int:
    moved, refused = list[Job](), list[str]()
    for batch in named_batches(jobs):
        ids = {*move.change(batch, ANY_JOB)}
        for seq in batch:
            job = context.store.show(seq)
            if job.id not in ids and len(batch) > 1:  # alone, it says if the user may not change it
                ids.update(move.change([seq], ANY_JOB))
                job = context.store.show(seq)
            job = job.seen_at(now_ms())
            if job.id not in ids:
                refused.append(f"{job.id} is {_state_text(context, job)} and {move.refusal}")
                continue
            context.changed += 1
            moved.append(job)
            if not context.json:
                print_out(f"{job.id} {job.label}{move.suffix}")
    if context.json:
        print_json({job.id: job.label for job in moved})
    if refused:
        raise ConflictError(", ".join(refused))
    return Exit.DONE


def named_batches(jobs: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yields jobs that were named in parts for one transaction each; an array has many."""
    for at in range(0, len(jobs), _BATCH):
        yield jobs[at : at + _BATCH]


def _state_text(context: Context, job: Job) -> str:
    if job.label is not Label.BLOCKED:
        return job.label
    from queued.ctl.live_services import BlockReasons

    return f"{job.label} ({BlockReasons(context).of_job(job)})"


def named(
    context: Context, arguments: Arguments, infinitive: str, labels: Sequence[Label] = ()
) -> list[int]:
    """Returns the rows of the jobs that the command line names; none if it names no job.

    Of an array those in one of these states; beside a filter those that match it, see `narrowed`.
    Raises UsageError if it has neither ids nor a filter, or ids and --all; ConflictError if there
    is no such job of an array.
    """
    one = arguments.text("JOB")
    names = arguments.texts("JOBS") or (() if one is None else (one,))
    if names and arguments.flag("--all"):
        msg = "give ids of jobs or --all, not both"
        raise UsageError(msg)
    if not (names or is_filtered(arguments) or arguments.flag("--all")):
        msg = f"which jobs to {infinitive}? give ids, a filter such as --queue, or --all"
        raise UsageError(msg)
    jobs = context.find(names, labels)
    if names and not jobs:
        msg = f"{', '.join(names)} has no job to {infinitive}"
        raise ConflictError(msg)
    return narrowed(context, arguments, jobs)


def narrowed(context: Context, arguments: Arguments, named: Sequence[int]) -> list[int]:
    """Returns those of the named jobs that match the filter, if there is one.

    Names the others on standard error; the exit code is then not 0. Raises NoMatchError if none
    matches.
    """
    if not (named and is_filtered(arguments)):
        return [*named]
    matching = set(context.store.select(job_filter(arguments)))
    for seq in (one for one in named if one not in matching):
        context.incomplete = True
        print_err(f"queuectl: {context.store.show(seq).id} does not match the options")
    if matching.isdisjoint(named):
        msg = "no job that was named matches the options"
        raise NoMatchError(msg)
    return [seq for seq in named if seq in matching]


def found(context: Context, arguments: Arguments, verb: Verb) -> Found:
    """Returns the jobs that the filter finds.

    Raises UsageError, which counts them, if they are several and --yes is missing.
    """
    wanted = job_filter(arguments, verb.default, verb.allowed)
    jobs = {
        label: context.store.select(wanted._replace(labels=(label,))) for label in wanted.labels
    }
    result = Found(context, wanted, jobs)
    if result.total() > 1 and not arguments.flag("--yes"):
        counts = counts_text({label: len(rows) for label, rows in jobs.items()})
        msg = f"{counts} match; to {verb.infinitive} them, add --yes (--dry-run prints their ids)"
        raise UsageError(msg)
    return result


def counts_text(counts: Mapping[Label, int]) -> str:
    """Returns a number of jobs by state, as `3 jobs (2 dead, 1 cancelled)`."""
    total = sum(counts.values())
    parts = ", ".join(f"{n:,} {label}" for label, n in counts.items() if n)
    return jobs_text(total) + (f" ({parts})" if parts else "")


def jobs_text(count: int) -> str:
    """Returns a number of jobs, as `1 job` or `2,000 jobs`."""
    return f"{count:,} job{'' if count == 1 else 's'}"


def dry_run(context: Context, arguments: Arguments, verb: Verb) -> int:
    """Prints the ids of the jobs that the command would change. Returns an exit code."""
    jobs = named(context, arguments, verb.infinitive, verb.default)
    if jobs:
        shown = map(context.store.show, jobs)
        ids = [job.id for job in shown if job.label in verb.allowed]
    else:
        wanted = job_filter(arguments, verb.default, verb.allowed)
        ids = [job.id for job in context.store.list(wanted)]
    return print_dry_run(context, "ids", ids, verb.participle)


def print_dry_run(context: Context, kind: str, jobs: Sequence[str], participle: str) -> int:
    """Prints the ids, or another `kind` of texts, of jobs that would be changed."""
    if context.json:
        print_json({"dry_run": True, kind: jobs})
    else:
        for text in jobs:
            print_out(escaped(text))
        print_err(f"{jobs_text(len(jobs))} would be {participle}; nothing was changed")
    return Exit.DONE


def move_all(
    verb: Verb, found: Found, move: Callable[[Sequence[int], JobFilter], Sequence[T]]
) -> list[T]:
    """Changes the jobs in batches; returns what `move` returns for those that it has changed."""
    moved = list[T]()

    def change(jobs: Sequence[int], wanted: JobFilter) -> tuple[int, bool]:
        batch = move(jobs, wanted)
        moved.extend(batch)
        return len(batch), True

    change_all(verb, found, change)
    return moved


def change_all(verb: Verb, found: Found, change: Change) -> dict[Label, int]:
    """Changes the jobs in batches. Returns how many were changed, by the state that they had.

    `change` gets a batch, and returns how many jobs it has changed and whether it is done with the
    batch. If that raises, a line says how many were changed before; the same after Ctrl+C, which
    ends the command at the end of a batch.
    """
    changed = dict.fromkeys(found.jobs, 0)
    total = found.total()
    try:
        with _delayed_interrupt() as raise_interrupt:
            for label, jobs in found.jobs.items():
                at = 0
                while at < len(jobs):
                    began_s = monotonic_s()
                    count, complete = change(jobs[at : at + _BATCH], found.wanted)
                    changed[label] += count
                    found.context.changed += count
                    at += _BATCH if complete else 0
                    progress(f"{verb.participle}: {sum(changed.values()):,} of {total:,}")
                    raise_interrupt()
                    time.sleep(monotonic_s() - began_s if at < len(jobs) else 0)
    except BaseException:
        progress("")
        done = sum(changed.values())
        print_err(
            f"queuectl: {done:,} of {total:,} jobs were {verb.participle}, the others were not"
        )
        raise
    progress("")
    return changed


@contextmanager
def _delayed_interrupt() -> Iterator[Callable[[], None]]:
    """Delays the first Ctrl+C: the function that it yields raises KeyboardInterrupt after it.

    A batch whose transaction was committed is then counted. A second Ctrl+C acts at once.
    """
    pressed = list[int]()

    def note(number: int, _frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    def raise_interrupt() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield raise_interrupt
    finally:
        signal.signal(signal.SIGINT, before)
