"""The history of a queue, read when all jobs have ended: the database and the traces.

A command appends `start ATTEMPT PID CENTISECONDS EDIT` and `end …` to a file of its job, with the
time since boot and the number of the last edit; some write `beat …` meanwhile, and `got:NAME …` for
each signal that they get. All its processes hold a lock on a second file; a line `overlap` means
that the lock was still held when a run began. The places of a limit are such files, too: a line
`exceeded:NAME` means that a run began while too few of them were free.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from queued.core.records import Attempt, Job, JobFilter
from queued.core.schedules import Schedule
from queued.store.paths import engine_at, is_url

Run = tuple[str, int]  # a job's id and the number of the attempt

TRACED = (
    'T={directory}; J="$T/$QUEUED_JOB_ID"; exec 9>>"$J.lock"; '
    "say() {{ read up _ < /proc/uptime; "
    'echo "$1 $QUEUED_ATTEMPT $$ $up ${{EDIT:-0}}" >> "$J.trace"; }}; '
    "flock -n 9; [ $? -ne 1 ] || say overlap; "  # else flock was killed
)
# Only one run at a time looks for free places, so that no two take the places of a third.
_TAKEN = (
    'exec 8>>"$T/{name}.door"; until flock 8; do :; done; n={taken}; for fd in {descriptors}; do '
    '[ $n = 0 ] || {{ eval "exec $fd>>$T/{name}.$fd"; flock -n $fd; [ $? = 1 ] || n=$((n-1)); }}; '
    "done; exec 8>&-; [ $n = 0 ] || say exceeded:{name}; "
)


class Places(NamedTuple):
    """What a run takes of a limit: `taken` places, each a locked file at one of `descriptors`."""

    name: str
    descriptors: str
    taken: int = 1


def traced(directory: Path, command: str, *limits: Places) -> str:
    """Returns a shell command that runs `command` between two lines of its trace.

    All its processes hold the places.
    """
    taken = "".join(_TAKEN.format(**places._asdict()) for places in limits)
    begin = TRACED.format(directory=directory) + taken
    return f"{begin}say start; ( {command} ); status=$?; say end; exit $status"


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceLine:
    """A line of a trace; the time since boot in hundredths of a second."""

    word: str
    attempt: int
    pid: int
    at_cs: int
    edit: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedResult:
    """A result that a log line or a reader of the database showed as recorded."""

    job: str
    attempt: int
    outcome: str
    exit_code: int | None
    signal: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspension:
    """A suspension of a queue: its runs were seen frozen, and may go on once it was resumed.

    `late` and `stuck` say what was not frozen, or was still stopped after the resume, in time.
    """

    queue: str
    runs: frozenset[Run]
    frozen_cs: int
    resumed_cs: int
    late: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class SentSignal:
    """A signal that was requested for a run: for a number from `first` to `last` (None: open)."""

    job: str
    first: int
    last: int | None

    def may_be_for(self, attempt: int) -> bool:
        """Returns whether it may have been requested for this run."""
        return self.first <= attempt and (self.last is None or attempt <= self.last)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """A `queuectl rerun` of a job, as that was read before. `new`: the id printed; None if none."""

    of: Job
    new: str | None


class Drain(NamedTuple):
    """A time for which a queue was to take no new jobs."""

    queue: str
    since_ms: int
    until_ms: int


class Wait(NamedTuple):
    """A time for which a job could have been claimed, as far as a user sees, and was not."""

    job: str
    queue: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceEnd:
    """How a service has ended, and the exit codes that what was done to it allows."""

    service: str
    exit_code: int
    allowed: frozenset[int]


@dataclass(kw_only=True, slots=True)
class History:
    """The facts that the checker needs."""

    jobs: dict[str, Job]
    attempts: dict[str, list[Attempt]]
    counts: dict[str, int]
    traces: dict[str, list[TraceLine]] = field(default_factory=dict)
    output: dict[Run, bytes] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)  # reported by SQLite's checks
    acknowledged: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)  # enqueued, acknowledged or not
    announced: list[RecordedResult] = field(default_factory=list)  # results in the logs
    seen: list[RecordedResult] = field(default_factory=list)  # results that readers saw
    cancelled: set[str] = field(default_factory=set)  # cancels that were acknowledged
    retried: dict[str, list[int]] = field(
        default_factory=dict
    )  # the number of runs before each retry
    died: Counter[str] = field(default_factory=Counter)  # how often each was dead before a retry
    prints: dict[str, bytes] = field(default_factory=dict)  # what each job prints if it succeeds
    alive: list[str] = field(default_factory=list)  # processes that outlive their run
    ends: list[ServiceEnd] = field(default_factory=list)
    keys: list[tuple[str, list[str]]] = field(default_factory=list)  # the jobs seen with each
    holds: list[tuple[str, int, int]] = field(
        default_factory=list
    )  # a job, and the number of its runs at the beginning and the end of a hold
    edits: dict[str, list[int]] = field(default_factory=dict)  # the runs when each edit was known
    pauses: list[tuple[str, int, dict[Run, int]]] = field(
        default_factory=list
    )  # a queue, since when it was paused, and its new claims at the end, with their times
    suspensions: list[Suspension] = field(default_factory=list)
    rates: Mapping[str, tuple[int, int]] = field(
        default_factory=dict
    )  # of queues: so many starts in so many milliseconds
    moves: list[tuple[Job, Job]] = field(
        default_factory=list
    )  # a job that was moved before another one; both waited since before
    arrays: dict[str, set[str]] = field(default_factory=dict)  # the ids of the jobs of each
    hurried: set[str] = field(default_factory=set)  # jobs that were not to wait for their time
    waits: dict[str, list[tuple[str, str]]] = field(
        default_factory=dict
    )  # the jobs that each job was to wait for, with the conditions
    schedules: list[tuple[Schedule, int]] = field(default_factory=list)  # with their first times
    signals: list[SentSignal] = field(default_factory=list)
    signalled: set[Run] = field(default_factory=set)  # runs that must have got a signal
    reruns: list[Rerun] = field(default_factory=list)
    drains: list[Drain] = field(default_factory=list)
    passed: list[Wait] = field(default_factory=list)  # of jobs of the queues with weights


def is_hook(job: Job) -> bool:
    """Returns whether the end of another job has enqueued it."""
    return "QUEUED_PARENT_ID" in (job.options.env or {})


def read(path: str, traces: Path) -> History:
    """Reads the database, which may be a URL, and the traces; the caller adds the rest."""
    with closing(engine_at(path, {}).open_store(None)) as store:
        jobs = {job.id: job for job in store.list(JobFilter())}
        attempts = {job.id: list(store.attempts(job.seq)) for job in jobs.values()}
        output = {
            (job.id, run.number): b"".join(c.content for c in store.output(job.seq, run.number, 1))
            for job in jobs.values()
            for run in attempts[job.id]
        }
    integrity = read_integrity(path)
    return History(
        jobs=jobs,
        attempts=attempts,
        counts=integrity.counts,
        output=output,
        damage=integrity.damage,
        traces={file.stem: marks(file) for file in traces.glob("*.trace")},
    )


class Integrity(NamedTuple):
    """The table of counts, and what SQLite's checks report; PostgreSQL has none."""

    counts: dict[str, int]
    damage: list[str]


def read_integrity(path: str) -> Integrity:
    """Reads the counts and checks the database."""
    ledger = engine_at(path, {}).open_ledger(lambda _waited_s: None)
    with closing(ledger), ledger.transaction():
        counts = {str(label): n for label, n in ledger.counts().items() if n}
    return Integrity(counts, [] if is_url(path) else _damage(path))


def _damage(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        found = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        return found + [f"dangling {row}" for row in connection.execute("PRAGMA foreign_key_check")]


def marks(file: Path) -> list[TraceLine]:
    """Reads a trace."""
    found = []
    for line in file.read_text().splitlines():
        word, attempt, pid, uptime, edit = line.split()
        at_cs = round(float(uptime) * 100)
        found.append(
            TraceLine(word=word, attempt=int(attempt), pid=int(pid), at_cs=at_cs, edit=int(edit))
        )
    return found
