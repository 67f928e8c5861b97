"""The command wait, and the exit code that represents the end of a job."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from queued.core.errors import Exit, UsageError, WaitTimeoutError
from queued.core.model import Label, State
from queued.core.records import Job, JobFilter
from queued.core.times import monotonic_s, now_ms, short_duration
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.batches import jobs_text, named
from queued.ctl.change_watch import Watch
from queued.ctl.context import Context
from queued.ctl.filters import FILTER_OPTIONS, OPEN, UNFINISHED, job_filter, state_of
from queued.ctl.live_services import ServiceWarning
from queued.ctl.render import escaped, print_err, print_json, print_out, progress
from queued.ctl.table import table_width, truncate

if TYPE_CHECKING:
    from queued.store.protocols import Store

_FAILED = frozenset({State.DEAD, State.CANCELLED})
FINAL = _FAILED | {State.COMPLETED}

WAIT = (
    """\
Usage:
  queuectl wait [options] [--] JOBS...
  queuectl wait [options]

Waits until jobs are completed, dead or cancelled: those that are named, or all
that match the options, also later ones. For one job that is named the exit code
is that of its command, 128 + N if signal N ended it, or 1 if the job ended in
another way. For several jobs it is 1 if any did not complete. With --state:
waits until no job that matches has such a state; the exit code is then 0.

Options:
"""
    + FILTER_OPTIONS
    + """\
  -a, --all            all jobs; needed if no other option restricts them
  --until STATE        of named jobs: stop also when they have this state, such
                       as processing; the exit code is 0 if each has it or is
                       completed
  --fail-fast          stop as soon as a job is dead or cancelled; the others go
                       on
  --timeout T          stop waiting after T (seconds, or 90s, 1h30m)
"""
    + COMMON
    + """
Exit code 124: the time limit was reached.

Examples:
  queuectl wait @last && echo completed
  queuectl wait --timeout 10m job1 job2
  queuectl wait --queue nightly
"""
)

_SCANNING = 0.1  # the part of its time that a wait may search for jobs that match


def wait(context: Context, arguments: Arguments) -> int:
    """Waits for the end of all named jobs and returns an exit code that represents it."""
    timeout_s = arguments.seconds("--timeout")
    limit_s = math.inf if timeout_s is None else timeout_s
    seqs = named(context, arguments, "wait for")
    if not seqs:
        return _wait_for_matching(context, arguments, limit_s)
    until = state_of(arguments, "--until")
    jobs = await_end(context, seqs, limit_s, until, fail_fast=arguments.flag("--fail-fast"))
    if all(job.label is until or job.state is State.COMPLETED for job in jobs):
        code: int = Exit.DONE
    else:
        code = exit_code_of(context.store, jobs[0]) if len(seqs) == 1 else _code_of_all(jobs)
    _print_ended(context, code, jobs)
    return code


def _code_of_all(jobs: Iterable[Job]) -> int:
    return Exit.NO if any(job.state is not State.COMPLETED for job in jobs) else Exit.DONE


def _print_ended(context: Context, code: int, jobs: Sequence[Job]) -> None:
    if context.json:
        print_json({"exit_code": code, "jobs": [_record(context.store, job) for job in jobs]})
    elif jobs:
        width = table_width()
        print_out("\n".join(_line(job, width) for job in jobs))


def _wait_for_matching(context: Context, arguments: Arguments, timeout_s: float) -> int:
    """Waits until no job matches. Prints the jobs that did not complete meanwhile."""
    if arguments.text("--until"):
        msg = "--until needs ids of jobs; for a filter, --state says which states are waited out"
        raise UsageError(msg)
    wanted = job_filter(arguments, UNFINISHED, OPEN)
    if next(context.store.list(wanted, limit=1), None) is None:
        print_err("queuectl: nothing to wait for: no job matches")
    not_completed = wanted._replace(labels=(Label.DEAD, Label.CANCELLED))
    before = set(context.store.select(not_completed))
    fail_fast = arguments.flag("--fail-fast")

    def failed() -> bool:
        return fail_fast and any(one not in before for one in context.store.select(not_completed))

    _await_none(context, wanted, timeout_s, failed)
    ended = (
        []
        if arguments.text("--state") and not fail_fast
        else [job for job in context.store.list(not_completed) if job.seq not in before]
    )
    code = _code_of_all(ended)
    _print_ended(context, code, ended)
    return code


def _await_none(
    context: Context, wanted: JobFilter, timeout_s: float, failed: Callable[[], bool]
) -> None:
    """Waits until no job matches, or `failed` returns True. Raises WaitTimeoutError."""
    deadline_s = monotonic_s() + timeout_s
    warning = ServiceWarning(context)
    with closing(Watch(context.store)) as watch:
        while True:
            with watch.outages(deadline_s):
                began_s = monotonic_s()
                found = wanted._replace(now_ms=now_ms())
                job = next(context.store.list(found, limit=1), None)
                progress(f"waiting, at least for {escaped(job.id)}" if job else "")
                if job is None or failed():
                    progress("")
                    return
                if monotonic_s() >= deadline_s:
                    progress("")
                    left = f"{jobs_text(len(context.store.select(found)))} not finished"
                    msg = f"timed out after {short_duration(timeout_s)}: {left}"
                    raise WaitTimeoutError(msg)
                pause_s = (monotonic_s() - began_s) / _SCANNING
                watch.wait(min(deadline_s - monotonic_s(), warning.remaining_s()))
                warning.check()
                time.sleep(max(0.0, min(pause_s, deadline_s - monotonic_s())))


def await_end(
    context: Context,
    seqs: Sequence[int],
    timeout_s: float = math.inf,
    until: Label | None = None,
    *,
    fail_fast: bool = False,
) -> list[Job]:
    """Waits until the jobs of these rows have ended, or have had the state `until`; returns them.

    `fail_fast`: waits only until one of them is dead or cancelled, and returns those that have
    ended. Raises WaitTimeoutError.
    """
    deadline_s = monotonic_s() + timeout_s
    warning = ServiceWarning(context)
    counter = _EndedCounter(len(seqs))
    ended: dict[int, Job] = {}
    with closing(Watch(context.store)) as watch:
        while len(ended) < len(seqs):
            with watch.outages(deadline_s):
                open_ = [seq for seq in seqs if seq not in ended]
                ended |= _newly_ended(context.store, open_, until)
                counter.show(len(ended))
                left = len(seqs) - len(ended)
                if left and monotonic_s() >= deadline_s:
                    timed_out = f"timed out after {short_duration(timeout_s)}"
                    part = f"{left} of " if ended else ""
                    msg = f"{timed_out}: {part}{jobs_text(len(seqs))} not finished"
                    raise WaitTimeoutError(msg)
                if fail_fast and left and any(job.state in _FAILED for job in ended.values()):
                    progress("")
                    return [ended[seq] for seq in seqs if seq in ended]
                if left:
                    watch.wait(min(deadline_s - monotonic_s(), warning.remaining_s()))
                    warning.check()
    return [ended[seq] for seq in seqs]


def _newly_ended(store: "Store", seqs: Iterable[int], until: Label | None) -> dict[int, Job]:
    jobs = map(store.show, seqs)
    return {job.seq: job for job in jobs if job.state in FINAL or job.label is until}


def exit_code_of(store: "Store", job: Job) -> int:
    """Returns the exit code for a job that has ended; 0 only if it completed."""
    if job.state is State.COMPLETED:
        return Exit.DONE
    last = store.attempts(job.seq)[-1:]
    if not last or (job.state is State.CANCELLED and last[0].outcome != "cancelled"):
        return Exit.NO
    if last[0].signal:
        return _signal_code(last[0].signal)
    return last[0].exit_code or Exit.NO


def _signal_code(name: str) -> int:
    """Returns 128 plus the number of a signal, as shells do."""
    import signal

    base, _, offset = name.partition("+")  # a real-time signal has a name such as SIGRTMIN+3
    known = signal.Signals.__members__.get(base)
    return Exit.NO if known is None else 128 + known + int(offset or 0)


def _record(store: "Store", job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "state": job.label,
        "exit_code": exit_code_of(store, job),
        "last_error": job.last_error,
    }


def _line(job: Job, width: int) -> str:
    return job.id + truncate(f" {end_text(job)}", max(width - len(job.id), 12))


def end_text(job: Job) -> str:
    """Returns how a job ended, for people: its label, and the reason if it did not complete."""
    told = job.state in _FAILED and job.last_error not in {None, job.label}
    return escaped(f"{job.label}: {job.last_error}" if told else job.label)


class _EndedCounter:
    """One line on a terminal, written again when the number changes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = -1
        self._before, self._began_s = 0, 0.0  # how many had ended at first, and when that was

    def show(self, ended: int) -> None:
        """Shows how many jobs have ended; clears the line when all have."""
        if ended != self._shown:
            if self._shown < 0:
                self._before, self._began_s = ended, monotonic_s()
            self._shown = ended
            if ended == self._total:
                progress("")
            else:
                progress(f"waiting: {ended} of {self._total} ended{self._estimate()}")

    def _estimate(self) -> str:
        """Returns how long the others take if they end as fast as those since the beginning."""
        made = self._shown - self._before
        if not made:
            return ""
        each_s = (monotonic_s() - self._began_s) / made
        return f", about {short_duration(each_s * (self._total - self._shown))} left"
