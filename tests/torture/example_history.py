"""A history that breaks no rule of the checker, and what changes it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from queued.core.job_options import JobOptions
from queued.core.model import Label, Outcome, State
from queued.core.records import Attempt, Job
from queued.core.times import iso
from tests.torture.history import (
    Drain,
    History,
    RecordedResult,
    Rerun,
    SentSignal,
    ServiceEnd,
    Suspension,
    TraceLine,
    Wait,
)
from tests.torture.load import SIGNAL, WARNING

Change = Callable[[History], None]


def a_job(name: str, state: State, **changes: Any) -> Job:
    options = JobOptions(backoff_base=2, backoff_max=4, timeout=1)
    job = Job(
        *(1, name, "default", 0, "true", options, state, Label(state)),
        *(0, 0, 3, 1, None, None, 0, 0),
    )
    return job._replace(**changes)


def a_run(number: int = 1, **changes: Any) -> Attempt:
    at = number * 10_000
    run = Attempt(
        number, "i", 1, at, at + 1000, Outcome.EXIT, 0, None, None, 1000, 1, 1, 0, 0
    )  # fmt: skip
    return run._replace(**changes)


def failed_run(number: int, **changes: Any) -> Attempt:
    return a_run(number, exit_code=1)._replace(**changes)


def trace(attempt: int, start_cs: int, end_cs: int) -> list[TraceLine]:
    pid = 100 + attempt
    return [
        TraceLine(word="start", attempt=attempt, pid=pid, at_cs=start_cs),
        TraceLine(word="end", attempt=attempt, pid=pid, at_cs=end_cs),
    ]


LIMITS = JobOptions(timeout=1, deadline=iso(60_000), warn_signal=f"{WARNING}@0.9")
AGAIN = LIMITS._replace(deadline=None, rerun_of="warned")
WARNED = a_job("warned", State.COMPLETED, queue="a", options=LIMITS)
GOT_WARNING = TraceLine(word=f"got:{WARNING}", attempt=1, pid=101, at_cs=115)
GOT_SIGNAL = TraceLine(word=f"got:{SIGNAL}", attempt=1, pid=101, at_cs=150)
SUSPENDED = Suspension(queue="default", runs=frozenset({("bad", 2)}), frozen_cs=20, resumed_cs=28)
OK = RecordedResult(job="good", attempt=1, outcome="exit", exit_code=0, signal=None)


def right_history() -> History:
    """One job that succeeded, one that died of its second failure, one that was cancelled.

    One more succeeded after an edit, and one of an array was cancelled. The second run of the one
    that died was suspended. One was warned of its limit, got a signal, and has been rerun.
    """
    return History(
        jobs={
            "good": a_job("good", State.COMPLETED),
            "edited": a_job("edited", State.COMPLETED, labels={"edit": "1"}),
            "bad": a_job("bad", State.DEAD, attempts=2, max_retries=2, runs=2),
            "t_1": a_job("t_1", State.CANCELLED, runs=0, array_id="t"),
            "gone": a_job("gone", State.CANCELLED, runs=0),
            "warned": WARNED,
            "again": a_job("again", State.COMPLETED, queue="a", options=AGAIN, created_ms=500),
        },
        attempts={
            "good": [a_run()],
            "edited": [a_run()],
            "bad": [failed_run(1), failed_run(2)],
            "gone": [],
            "t_1": [],
            "warned": [a_run()],
            "again": [a_run()],
        },
        counts={"completed": 4, "dead": 1, "cancelled": 2},
        traces={
            "good": trace(1, 10, 20),
            "edited": [replace(mark, edit=1) for mark in trace(1, 60, 70)],
            "bad": [*trace(1, 10, 20), *trace(2, 20, 30)],
            "warned": [*trace(1, 100, 200), GOT_WARNING, GOT_SIGNAL],
            "again": trace(1, 210, 220),
        },
        output={("good", 1): b"hello\n"},
        acknowledged={"good", "bad", "again"},
        asked={"good", "edited", "bad", "gone", "t_1", "warned", "never arrived"},
        announced=[OK],
        seen=[OK, OK],
        cancelled={"gone"},
        prints={"good": b"hello\n"},
        edits={"edited": [0]},
        suspensions=[SUSPENDED],
        moves=[(a_job("a", State.PENDING), a_job("b", State.PENDING, seq=2))],
        arrays={"t": {"t_1"}},
        waits={"edited": [("after", "good"), ("after_any", "gone")]},
        signals=[SentSignal(job="warned", first=1, last=1)],
        signalled={("warned", 1)},
        reruns=[Rerun(of=WARNED, new="again")],
        drains=[Drain("a", 600, 900)],
        passed=[Wait("again", "a", 500, 9_000)],
        ends=[ServiceEnd(service="log.0", exit_code=0, allowed=frozenset({0, 74}))],
    )


def set_job(name: str, **changes: Any) -> Change:
    def change(history: History) -> None:
        history.jobs[name] = history.jobs[name]._replace(**changes)

    return change


def set_field(field: str, value: object) -> Change:
    return lambda history: setattr(history, field, value)


def set_runs(name: str, *runs: Attempt) -> Change:
    def change(history: History) -> None:
        history.attempts[name] = list(runs)
        history.jobs[name] = history.jobs[name]._replace(runs=len(runs))

    return change


def set_trace(name: str, *marks: TraceLine) -> Change:
    return lambda history: history.traces.update({name: list(marks)})
