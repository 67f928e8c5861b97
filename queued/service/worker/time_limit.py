"""The end of a run's time: by its timeout or its deadline, and the signal that warns of it."""

import signal
from typing import NamedTuple

from queued.core import times
from queued.service.ipc.messages import Run


class TimeLimit(NamedTuple):
    """Times on the monotonic clock; `NEVER_S` if there is none. `error` names a deadline."""

    end_s: float
    error: str | None = None
    warn_s: float = times.NEVER_S
    warn_signal: signal.Signals = signal.SIGUSR1


def limit_of(
    run: Run, *, started_s: float, now_s: float, now_ms: int, suspended_s: float = 0.0
) -> TimeLimit:
    """Returns the limit of a run, and of its suspensions, whose time does not count.

    A deadline is right as long as the wall clock, now `now_ms`, is not set. A signal whose time is
    over at the start is not sent: the command might not be ready for it.
    """
    end_s, error = started_s + suspended_s + run.timeout_s if run.timeout_s else times.NEVER_S, None
    if (deadline := run.options.deadline) is not None:
        deadline_s = now_s + (times.parse_when(deadline) - now_ms) / 1000
        if deadline_s < end_s:
            end_s, error = deadline_s, f"the deadline {deadline} has passed"
    if run.options.warn_signal is None:
        return TimeLimit(end_s, error)
    name, _, before = run.options.warn_signal.partition("@")
    warn_s = end_s - float(before)
    warn_s = warn_s if warn_s > started_s else times.NEVER_S
    return TimeLimit(end_s, error, warn_s, signal.Signals[f"SIG{name}"])
