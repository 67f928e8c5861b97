"""Decides which state a job gets when a run has ended, and describes the end in one line."""

import math
from typing import NamedTuple

from queued.core.backoff import backoff_s, deferral_s
from queued.core.model import Outcome, State
from queued.core.runs import Claim, Ending
from queued.core.times import parse_when


class Backoff(NamedTuple):
    """The backoff in force for a job: `maximum` and `deferral` in seconds, `jitter` a fraction."""

    base: float
    maximum: float
    jitter: float
    deferral: float


class Verdict(NamedTuple):
    """The new state of a job, and whether the run counts as a failed attempt (0 or 1).

    `deferrals` is the number of deferred runs in a row, this one included; 0 if it is not deferred.
    """

    state: State
    counted: int
    next_run_at_ms: int
    error: str | None
    deferrals: int = 0


class Settlement(NamedTuple):
    """How the run of a claim ended, and the move of its job."""

    claim: Claim
    ending: Ending
    verdict: Verdict

    def columns(self) -> dict[str, str | int | None]:
        """Returns the columns of the job and of the run, and the key of the claim."""
        key, ending, verdict = self.claim.key, self.ending, self.verdict
        return {
            "job": key.job,
            "attempt": key.attempt,
            "token": key.token,
            "state": verdict.state,
            "next_run_at": verdict.next_run_at_ms,
            "counted": verdict.counted,
            "error": verdict.error,
            "started_at": ending.started_ms,
            "ended_at": ending.ended_ms,
            "outcome": ending.outcome,
            "exit_code": ending.exit_code,
            "signal": ending.signal,
            "ran_ms": ending.ran_ms,
            "cpu_ms": ending.cpu_ms,
            "peak_kib": ending.peak_kib,
            "stdout_bytes": ending.stdout_bytes,
            "stderr_bytes": ending.stderr_bytes,
            "deferrals": verdict.deferrals,
            "waited_ms": self.waited_ms,
        }

    @property
    def waited_ms(self) -> int | None:
        """Returns how long the job had been due when a worker got it; None if it has expired."""
        return None if self.ending.outcome is Outcome.EXPIRED else self.claim.waited_ms

    @property
    def result(self) -> str:
        """Returns `completed`, `deferred`, or else the outcome."""
        if self.verdict.state is State.COMPLETED:
            return State.COMPLETED
        return "deferred" if self.verdict.deferrals else self.ending.outcome

    @property
    def is_retry(self) -> bool:
        """Returns whether it was a run of the job after its first one."""
        return self.claim.key.attempt > 1 and self.ending.outcome is not Outcome.EXPIRED


def is_deferral(claim: Claim, ending: Ending) -> bool:
    """Returns whether the job runs again because its exit code is in `defer_on`."""
    return ending.outcome is Outcome.EXIT and ending.exit_code in (claim.options.defer_on or ())


_FINAL = {Outcome.CANCELLED: State.CANCELLED, Outcome.EXPIRED: State.DEAD}


def _final(claim: Claim, ending: Ending) -> State | None:
    """Returns the state of a job that ends without a failed run; None if the run may be one."""
    if ending.outcome is Outcome.EXIT and ending.exit_code in (claim.options.cancel_on or ()):
        return State.CANCELLED
    return _FINAL.get(ending.outcome)


def judge(
    claim: Claim, ending: Ending, backoff: Backoff, *, now_ms: int, deferrals: int = 0
) -> Verdict:
    """Returns the new state of the job: completed, pending again, dead or cancelled.

    A run that was interrupted or is deferred does not count as failed. `deferrals` is the number of
    deferred runs in a row before this one.
    """
    if ending.succeeded:
        return Verdict(State.COMPLETED, 0, claim.due_ms, None)
    error = describe(ending, claim.options.limits)
    if (final := _final(claim, ending)) is not None:
        return Verdict(final, 0, claim.due_ms, error)
    if ending.outcome is Outcome.INTERRUPTED:
        due_ms = min(claim.due_ms, now_ms)  # due at once, also if the clock was set back
        return Verdict(State.PENDING, 0, due_ms, error)
    growth = {"base": backoff.base, "maximum": backoff.maximum, "jitter": backoff.jitter}
    if is_deferral(claim, ending):
        delay_s = deferral_s(deferrals + 1, first=backoff.deferral, **growth)
        return Verdict(State.PENDING, 0, _after(now_ms, delay_s), error, deferrals + 1)
    exited = ending.exit_code if ending.outcome is Outcome.EXIT else None
    attempts = claim.attempts + 1
    deadline = claim.options.deadline
    late = deadline is not None and parse_when(deadline) <= now_ms
    if late or exited in (claim.options.no_retry_on or ()) or attempts >= claim.max_retries:
        return Verdict(State.DEAD, 1, claim.due_ms, error)
    return Verdict(State.PENDING, 1, _after(now_ms, backoff_s(attempts, **growth)), error)


def _after(now_ms: int, delay_s: float) -> int:
    """Returns the time of the next run, rounded up, so that it is never early."""
    return now_ms + math.ceil(delay_s * 1000)


_EXIT_HINTS = {126: "not executable", 127: "command not found"}


def describe(ending: Ending, limits: dict[str, int] | None = None) -> str:
    """Returns one line for `last_error`: how the run ended, then the end of its output.

    `limits` are those of the job: the kernel does not say which limit ended a process.
    """
    head = _headline(ending) + _limit_hint(ending, limits or {})
    printed = printable_tail(ending.tail)
    return f"{head}: {printed}" if printed else head


def _limit_hint(ending: Ending, limits: dict[str, int]) -> str:
    cpu_s, used_ms = limits.get("cpu"), ending.cpu_ms or 0
    killed = ending.signal in {"SIGKILL", "SIGXCPU"}
    # The kernel compares the limit with a count in ticks, which may be a fifth more than the time.
    if cpu_s is None or not killed or used_ms < cpu_s * 800:
        return ""
    return f" (limits.cpu is {cpu_s} s)"


def _headline(ending: Ending) -> str:
    if ending.error is not None:
        return f"{ending.outcome}: {ending.error}"
    if ending.outcome is Outcome.EXIT:
        hint = _EXIT_HINTS.get(ending.exit_code or 0)
        return f"exit {ending.exit_code} ({hint})" if hint else f"exit {ending.exit_code}"
    if ending.outcome is Outcome.SIGNAL:
        return f"signal {ending.signal}"
    return str(ending.outcome)


def printable_tail(tail: bytes, *, limit: int = 200) -> str:
    """Returns the last `limit` characters of `tail` on one line, without control characters."""
    text = " ".join(tail.decode("utf-8", "replace").split())
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= limit else "\N{HORIZONTAL ELLIPSIS}" + shown[1 - limit :]
