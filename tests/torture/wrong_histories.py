"""Histories that break rules of the checker, each with the name of its rule."""

from dataclasses import replace
from typing import Any

from queued.core.job_options import JobOptions
from queued.core.model import Outcome, State
from queued.core.schedules import Schedule
from queued.core.times import iso
from tests.torture.example_history import (
    AGAIN,
    GOT_SIGNAL,
    GOT_WARNING,
    LIMITS,
    OK,
    SUSPENDED,
    WARNED,
    Change,
    a_job,
    a_run,
    failed_run,
    set_field,
    set_job,
    set_runs,
    set_trace,
    trace,
)
from tests.torture.history import (
    Drain,
    History,
    RecordedResult,
    Rerun,
    SentSignal,
    ServiceEnd,
    TraceLine,
    Wait,
)

OTHER = RecordedResult(job="good", attempt=1, outcome="lost", exit_code=None, signal=None)
OVERLAP = TraceLine(word="overlap", attempt=2, pid=1, at_cs=25)
ENDED_WRONGLY = ServiceEnd(service="log.0", exit_code=0, allowed=frozenset({-9}))
MISPLACED = (a_job("b", State.PENDING, seq=2), a_job("a", State.PENDING))

HOOKED = JobOptions(backoff_base=2, backoff_max=4, on_dead="true")
PARENT = {"QUEUED_PARENT_ID": "bad", "QUEUED_PARENT_STATE": "dead"}

MINUTE_MS = 60_000
EVERY_MINUTE = Schedule("s", "* * * * *", "UTC", "{}", "all", next_ms=3 * MINUTE_MS)
EXCEEDED = TraceLine(word="exceeded:one", attempt=1, pid=1, at_cs=12)


def scheduled(overlap: str, fired: int = 2, **changes: Any) -> Change:
    """Adds a schedule with two times that were due, of which some jobs have fired."""

    def change(history: History) -> None:
        at_ms = [MINUTE_MS, 2 * MINUTE_MS][:fired]
        for n, at in enumerate(at_ms):
            job = a_job(f"s{n}", State.COMPLETED, seq=n, schedule="s", scheduled_ms=at)
            history.jobs[job.id] = job._replace(created_ms=at)
            history.attempts[job.id] = [a_run(1, started_ms=at, ended_ms=at + 1)]
            history.traces[job.id] = trace(1, 10, 20)
        history.counts["completed"] += fired
        last_ms = 2 * MINUTE_MS
        stored = EVERY_MINUTE._replace(overlap=overlap, last_ms=last_ms, fired=fired)
        history.schedules = [(stored._replace(**changes), MINUTE_MS)]

    return change


def twice_fired(history: History) -> None:
    scheduled("allow")(history)
    set_job("s1", scheduled_ms=MINUTE_MS)(history)


def _unreplaced(history: History) -> None:
    scheduled("replace")(history)
    set_runs("s0", *(a_run(n, started_ms=n, ended_ms=2 * MINUTE_MS + n) for n in (1, 2)))(history)


def _timed_out(history: History) -> None:
    """The second run of `bad`, whose timeout is 1 s, was suspended for 80 ms of its 1030 ms."""
    late = {"outcome": Outcome.TIMEOUT, "exit_code": None, "ran_ms": 1030}
    set_runs("bad", failed_run(1), failed_run(2, **late))(history)
    history.traces["bad"].append(TraceLine(word="beat", attempt=2, pid=102, at_cs=20))


def _repeated_twice(history: History) -> None:
    history.jobs["third"] = history.jobs["again"]._replace(id="third", runs=0)
    history.attempts["third"] = []


def _starved(history: History) -> None:
    """All jobs of the queue `a` have started before."""
    set_runs("bad", *(failed_run(n) for n in range(1, 80)))(history)
    history.passed.append(Wait("again", "a", 15_000, 900_000))


WRONG: list[tuple[str, Change]] = [
    ("damaged", set_field("damage", ["a page is never used"])),
    ("lost", set_field("acknowledged", {"good", "lost"})),
    ("invented", set_field("asked", {"good", "edited", "bad"})),
    ("unfinished", set_job("good", state=State.PENDING)),
    ("unfinished", set_job("good", state=State.PROCESSING)),
    ("unfinished", set_runs("good", a_run(ended_ms=None, outcome=None, exit_code=None))),
    ("miscounted", set_job("bad", attempts=1)),
    ("miscounted", set_job("good", attempts=1)),
    ("miscounted", set_job("good", runs=2)),
    ("miscounted", set_runs("bad", failed_run(1), failed_run(3))),
    ("miscounted", set_runs("bad", failed_run(1, outcome=Outcome.INTERRUPTED), failed_run(2))),
    ("illegal", set_runs("good", failed_run(1))),
    ("illegal", set_runs("good")),
    ("illegal", set_job("bad", max_retries=3)),
    ("illegal", set_runs("good", a_run(1), a_run(2))),
    ("illegal", set_runs("bad", failed_run(1), failed_run(2), failed_run(3))),
    ("changed", set_field("seen", [OTHER])),
    ("changed", set_field("announced", [OTHER])),
    ("changed", set_field("seen", [replace(OK, attempt=2)])),
    ("twice", set_field("announced", [OK, OK])),
    ("overlapping", set_trace("bad", *trace(1, 10, 22), *trace(2, 20, 30))),
    ("overlapping", set_trace("bad", *trace(1, 10, 20), OVERLAP, *trace(2, 20, 30))),
    ("untold", set_trace("bad", *trace(1, 10, 20), *trace(2, 20, 30), *trace(3, 30, 40))),
    ("untold", set_trace("good", *trace(1, 10, 20), *trace(1, 30, 40))),
    ("untold", set_trace("good", trace(1, 10, 20)[0])),
    ("early", set_runs("bad", failed_run(1), failed_run(2, started_ms=12_990))),
    ("uncancelled", set_field("cancelled", {"bad"})),
    ("miscounted_labels", set_field("counts", {"completed": 3, "dead": 1})),
    ("unprinted", set_field("output", {("good", 1): b"hell"})),
    ("left_behind", set_field("alive", ["sleep 100"])),
    ("unhooked", set_job("bad", options=HOOKED)),
    ("unhooked", set_job("gone", options=JobOptions(env=PARENT))),
    ("ended_wrongly", set_field("ends", [ENDED_WRONGLY])),
    ("exceeded", set_trace("good", EXCEEDED, *trace(1, 10, 20))),
    ("rushed", set_field("rates", {"default": (3, 20_010)})),
    ("rushed", set_job("bad", key="k", key_rate_starts=1, key_rate_ms=20_010)),
    ("shared", set_field("keys", [("k", ["good", "bad"])])),
    ("expired", set_job("good", expires_ms=10_000)),
    ("expired", set_runs("good", a_run(outcome=Outcome.EXPIRED))),
    ("held", set_field("holds", [("good", 0, 1)])),
    ("unedited", set_field("edits", {"good": [0]})),
    ("unedited", set_job("edited", labels={"edit": "0"})),
    ("unedited", set_trace("edited", *trace(1, 60, 70))),
    ("paused", set_field("pauses", [("default", 5_000, {("bad", 2): 6_000})])),
    ("suspended", set_trace("bad", *trace(1, 10, 20), *trace(2, 20, 24))),
    ("suspended", set_field("suspensions", [replace(SUSPENDED, late=["pid 7"])])),
    ("resumed", set_field("suspensions", [replace(SUSPENDED, stuck=["pid 7"])])),
    ("timed_out", _timed_out),
    ("misplaced", set_field("moves", [MISPLACED])),
    ("torn", set_field("arrays", {"t": {"t_1", "t_2"}})),
    ("torn", set_job("good", array_id="t")),
    ("untimely", set_field("waits", {"good": [("after", "bad")]})),
    ("untimely", set_field("waits", {"good": [("after_fail", "bad")]})),
    ("misfired", twice_fired),
    ("misfired", scheduled("allow", next_ms=2 * MINUTE_MS)),
    ("misfired", scheduled("allow", fired=1)),
    ("misfired", scheduled("skip", skipped=2, fired=1)),
    ("misfired", scheduled("allow", last_ms=MINUTE_MS)),
    ("misfired", _unreplaced),
    ("overdue", set_job("warned", options=LIMITS._replace(deadline=iso(10_000)))),
    ("overdue", set_runs("warned", a_run(ran_ms=100_000))),
    ("miswarned", set_job("warned", options=LIMITS._replace(warn_signal=None))),
    ("miswarned", set_trace("warned", *trace(1, 100, 200), GOT_WARNING, GOT_WARNING)),
    ("miswarned", set_trace("warned", *trace(1, 100, 200), replace(GOT_WARNING, at_cs=105))),
    ("miswarned", set_trace("good", *trace(1, 10, 20), GOT_WARNING)),
    ("missignalled", set_field("signals", [])),
    ("missignalled", set_field("signals", [SentSignal(job="good", first=1, last=1)])),
    ("missignalled", set_field("signals", [SentSignal(job="warned", first=2, last=None)])),
    ("missignalled", set_trace("warned", *trace(1, 100, 200), GOT_SIGNAL, GOT_SIGNAL)),
    ("unheard", set_runs("warned", a_run(outcome=Outcome.TIMEOUT, exit_code=None))),
    ("misrepeated", set_field("reruns", [])),
    ("misrepeated", set_field("reruns", [Rerun(of=WARNED, new="again")] * 2)),
    ("misrepeated", _repeated_twice),
    ("misrepeated", set_job("again", max_retries=2)),
    ("misrepeated", set_job("again", options=AGAIN._replace(timeout=2))),
    ("admitted", set_field("drains", [Drain("a", 100, 900)])),
    ("starved", _starved),
]
