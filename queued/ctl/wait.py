"""The command wait, and the exit code that represents the end of a job."""

import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from queued.core.errors import Exit, WaitTimeoutError
from queued.core.model import State
from queued.core.records import Job
from queued.core.times import monotonic_s, short_duration
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.change_watch import Watch
from queued.ctl.context import Context
from queued.ctl.live_services import ServiceWarning
from queued.ctl.render import escaped, print_json, print_out, progress
from queued.ctl.table import table_width, truncate

if TYPE_CHECKING:
    from queued.store.protocols import Store

FINAL = frozenset({State.COMPLETED, State.DEAD, State.CANCELLED})

WAIT = (
    """\
Usage: queuectl wait [options] [--] JOBS...

Waits until jobs are completed, dead or cancelled. For one job the exit code is
that of its command, 128 + N if signal N ended it, or 1 if the job ended in
another way. For several jobs it is 1 if any did not complete.

Options:
  --timeout T          stop waiting after T (seconds, or 90s, 1h30m)
"""
    + COMMON
    + """
Exit code 124: the time limit was reached.

Examples:
  queuectl wait @last && echo completed
  queuectl wait --timeout 10m job1 job2
"""
)


def wait(context: Context, arguments: Arguments) -> int:
    """Waits for the end of all named jobs and returns an exit code that represents it."""
    timeout_s = arguments.seconds("--timeout")
    seqs = context.find(arguments.texts("JOBS"))
    jobs = await_end(context, seqs, math.inf if timeout_s is None else timeout_s)
    if len(jobs) == 1:
        code = exit_code_of(context.store, jobs[0])
    else:
        code = Exit.NO if any(job.state is not State.COMPLETED for job in jobs) else Exit.DONE
    if context.json:
        print_json({"exit_code": code, "jobs": [_record(context.store, job) for job in jobs]})
    else:
        width = table_width()
        print_out("\n".join(_line(job, width) for job in jobs))
    return code


def await_end(context: Context, seqs: Sequence[int], timeout_s: float = math.inf) -> list[Job]:
    """Waits until the jobs of these rows have ended; returns them. Raises WaitTimeoutError."""
    deadline_s = monotonic_s() + timeout_s
    warning = ServiceWarning(context)
    counter = _EndedCounter(len(seqs))
    ended: dict[int, Job] = {}
    with closing(Watch(context.store)) as watch:
        while True:
            ended |= _newly_ended(context.store, [seq for seq in seqs if seq not in ended])
            counter.show(len(ended))
            if len(ended) == len(seqs):
                return [ended[seq] for seq in seqs]
            if monotonic_s() >= deadline_s:
                left = len(seqs) - len(ended)
                timed_out = f"timed out after {short_duration(timeout_s)}"
                msg = f"{timed_out}: {left} of {len(seqs)} jobs not finished"
                raise WaitTimeoutError(msg)
            watch.wait(min(deadline_s - monotonic_s(), warning.remaining_s()))
            warning.check()


def _newly_ended(store: "Store", seqs: Iterable[int]) -> dict[int, Job]:
    return {job.seq: job for job in map(store.show, seqs) if job.state in FINAL}


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
    """Returns how a job ended, for people: its label, and the reason if it is dead."""
    why = f": {job.last_error}" if job.last_error and job.state is State.DEAD else ""
    return escaped(f"{job.label}{why}")


class _EndedCounter:
    """One line on a terminal, written again when the number changes."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = -1

    def show(self, ended: int) -> None:
        """Shows how many jobs have ended; clears the line when all have."""
        if ended != self._shown:
            self._shown = ended
            done = ended == self._total
            line = "" if done else f"waiting: {ended} of {self._total} ended"
            progress(line)
