"""The rules for deadlines, for the signals that warn of a limit, and for those that users send."""

import re
from collections.abc import Callable, Iterator

from queued.core.model import Outcome
from queued.core.records import Attempt, Job
from queued.core.times import parse_when
from tests.torture.history import History, Run, TraceLine
from tests.torture.load import SIGNAL, WARNING

_ROUNDING_MS = 40  # of the times of a suspension, which are hundredths of a second, and of a run
_PASSED = re.compile(r"the deadline (\S+) has passed")
_LATEST_MS = 40_000  # longer than a process is stopped; a run that waits for a signal takes longer


def _timed_out(history: History) -> Iterator[str]:
    """A run has its timeout for itself, without the time for which it was suspended.

    Only of commands that beat: others stop themselves, which looks like a suspension.
    """
    for name, job in history.jobs.items():
        beating = {mark.attempt for mark in history.traces.get(name, []) if mark.word == "beat"}
        for run in history.attempts[name]:
            if run.outcome is not Outcome.TIMEOUT or run.number not in beating:
                continue
            suspended_ms = sum(
                (one.resumed_cs - one.frozen_cs) * 10
                for one in history.suspensions
                if (name, run.number) in one.runs
            )
            limit_ms = _limit_ms(job, run, suspended_ms)
            if (run.ran_ms or 0) < limit_ms - _ROUNDING_MS:
                yield f"{name} attempt {run.number} had {run.ran_ms} ms, {suspended_ms} suspended"


def _limit_ms(job: Job, run: Attempt, suspended_ms: float = 0) -> float:
    """Returns the time of a run from its start to its timeout or to its deadline."""
    limit_ms = (job.options.timeout or 0) * 1000 + suspended_ms
    return min(limit_ms, _left_ms(job, run))


def _left_ms(job: Job, run: Attempt) -> float:
    """Returns the time of a run from its start to the deadline of its job.

    A retry removes a deadline that has passed; the error of the run that it has ended names it.
    """
    named = _PASSED.search(run.error or "")
    deadline = named[1] if named else job.options.deadline
    return float("inf") if deadline is None else parse_when(deadline) - run.started_ms


def _overdue(history: History) -> Iterator[str]:
    """No command starts after the deadline of its job, and none goes on for long after it."""
    for name, job in history.jobs.items():
        started = {mark.attempt for mark in history.traces.get(name, []) if mark.word == "start"}
        for run in [run for run in history.attempts[name] if run.number in started]:
            left_ms = _left_ms(job, run)
            if left_ms <= 0:
                yield f"{name} attempt {run.number} began {-left_ms} ms after its deadline"
            if (run.ran_ms or 0) > left_ms + _LATEST_MS:
                yield f"{name} attempt {run.number} ran {run.ran_ms} of {left_ms} ms"


def _miswarned(history: History) -> Iterator[str]:
    """The signal that warns of a limit comes once, not before its time, and to no other run.

    A run began no earlier than its duration before the last line of its trace.
    """
    for (name, attempt), came_cs in arrivals(history, WARNING).items():
        job, runs = history.jobs[name], history.attempts[name]
        if job.options.warn_signal is None or len(came_cs) > 1:
            yield f"{name} attempt {attempt} was warned at {came_cs}: {job.options.warn_signal}"
            continue
        before_ms = float(job.options.warn_signal.partition("@")[2]) * 1000
        last_cs = max(mark.at_cs for mark in _trace_of(history, (name, attempt)))
        for run in [run for run in runs if run.number == attempt and run.ran_ms is not None]:
            due_ms = last_cs * 10 - (run.ran_ms or 0) + _limit_ms(job, run) - before_ms
            if came_cs[0] * 10 < due_ms - _ROUNDING_MS:
                yield f"{name} attempt {attempt} was warned at {came_cs[0]}, due at {due_ms} ms"


def arrivals(history: History, name: str) -> dict[Run, list[int]]:
    """Returns when each run of a known job has got a signal."""
    found: dict[Run, list[int]] = {}
    for job in history.jobs.keys() & history.traces.keys():
        for mark in history.traces[job]:
            if mark.word == f"got:{name}":
                found.setdefault((job, mark.attempt), []).append(mark.at_cs)
    return found


def _trace_of(history: History, run: Run) -> list[TraceLine]:
    return [mark for mark in history.traces[run[0]] if mark.attempt == run[1]]


def _missignalled(history: History) -> Iterator[str]:
    """A signal reaches only the run for which a user has requested it, and only once."""
    for (name, attempt), came_cs in arrivals(history, SIGNAL).items():
        sent = [one for one in history.signals if one.job == name and one.may_be_for(attempt)]
        if len(came_cs) > len(sent):
            yield f"{name} attempt {attempt} got {len(came_cs)} of {len(sent)} signals"


def _unheard(history: History) -> Iterator[str]:
    """A signal that was requested while nothing was harmed has ended the run that waited for it."""
    for name, attempt in sorted(history.signalled):
        outcomes = {run.number: run.outcome for run in history.attempts.get(name, [])}
        if outcomes.get(attempt) is Outcome.TIMEOUT:
            yield f"{name} attempt {attempt} waited for its signal until its timeout"


RULES: tuple[Callable[[History], Iterator[str]], ...] = (
    _timed_out, _overdue, _miswarned, _missignalled, _unheard,
)  # fmt: skip
