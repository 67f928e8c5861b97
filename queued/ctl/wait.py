"""The command wait, and what exit code a job stands for."""

import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from queued.core.errors import Exit, WaitTimeoutError
from queued.core.model import Job, State
from queued.core.times import monotonic_s, short_duration
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.change_watch import Watch
from queued.ctl.context import Context
from queued.ctl.render import cut, escaped, progress, put, put_json, width_here

if TYPE_CHECKING:
    from queued.store.protocols import Store

FINAL = frozenset({State.COMPLETED, State.DEAD, State.CANCELLED})

WAIT = (
    """\
Usage: queuectl wait [options] [--] JOBS...

Waits until jobs are completed, dead or cancelled. For one job the exit code is
its own (128 + N if signal N ended it; 1 if it has none and did not complete);
for several it is 1 if any did not complete. 124 when the time is over.

Options:
  --timeout T          give up after T (seconds, or 500ms, 10m, 2h)
"""
    + COMMON
)


def wait(context: Context, arguments: Arguments) -> int:
    """Waits for the end of all named jobs; the exit code says how they ended."""
    timeout_s = arguments.seconds("--timeout")
    rows = context.find(arguments.texts("JOBS"))
    jobs = await_end(context, rows, math.inf if timeout_s is None else timeout_s)
    if len(jobs) == 1:
        code = code_of(context.store, jobs[0])
    else:
        code = Exit.NO if any(job.state is not State.COMPLETED for job in jobs) else Exit.DONE
    if context.json:
        put_json({"exit_code": code, "jobs": [_record(context.store, job) for job in jobs]})
    else:
        width = width_here()
        put("\n".join(_line(job, width) for job in jobs))
    return code


def await_end(context: Context, rows: Sequence[int], timeout_s: float = math.inf) -> list[Job]:
    """The jobs once all have ended. Raises WaitTimeoutError."""
    deadline_s = monotonic_s() + timeout_s
    progress = _Progress(len(rows))
    ended: dict[int, Job] = {}
    with closing(Watch(context.store, context.database)) as watch:
        while True:
            ended |= _newly_ended(context.store, [seq for seq in rows if seq not in ended])
            progress.show(len(ended))
            if len(ended) == len(rows):
                return [ended[seq] for seq in rows]
            if monotonic_s() >= deadline_s:
                left = len(rows) - len(ended)
                told = f"{left} of {len(rows)} jobs had not ended after {short_duration(timeout_s)}"
                raise WaitTimeoutError(told)
            watch.wait(deadline_s - monotonic_s())


def _newly_ended(store: "Store", rows: Iterable[int]) -> dict[int, Job]:
    return {job.seq: job for job in map(store.show, rows) if job.state in FINAL}


def code_of(store: "Store", job: Job) -> int:
    """The exit code that a job which has ended gives: 0 only if it completed."""
    if job.state is State.COMPLETED:
        return Exit.DONE
    last = store.attempts(job.seq)[-1:]
    if not last or (job.state is State.CANCELLED and last[0].outcome != "cancelled"):
        return Exit.NO
    if last[0].signal:
        return _signal_code(last[0].signal)
    return last[0].exit_code or Exit.NO


def _signal_code(name: str) -> int:
    """What a shell reports for a signal: 128 and its number."""
    import signal

    base, _, above = name.partition("+")  # a real-time signal is SIGRTMIN+3
    known = signal.Signals.__members__.get(base)
    return Exit.NO if known is None else 128 + known + int(above or 0)


def _record(store: "Store", job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "state": job.label,
        "exit_code": code_of(store, job),
        "last_error": job.last_error,
    }


def _line(job: Job, width: int) -> str:
    return job.id + cut(f" {ending(job)}", max(width - len(job.id), 12))


def ending(job: Job) -> str:
    """How it ended, for people: its label, and of a dead job the reason."""
    why = f": {job.last_error}" if job.last_error and job.state is State.DEAD else ""
    return escaped(f"{job.label}{why}")


class _Progress:
    """One line on a terminal, rewritten when something has changed."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = -1

    def show(self, ended: int) -> None:
        """Says how many have ended; takes itself away when all have."""
        if ended != self._shown:
            self._shown = ended
            done = ended == self._total
            line = "" if done else f"waiting: {ended} of {self._total} ended"
            progress(line)
