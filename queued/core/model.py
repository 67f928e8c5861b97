"""The model: states, outcomes, the records that modules exchange, and the legal moves.

The stored states of a job and the moves between them; `MOVES` below has the same moves as data:

              enqueue
                 |
                 v     claim                 exit 0
    +-------> pending --------> processing ---------> completed
    |            |                |  |  |
    |   cancel   |         cancel |  |  |  failed, attempts >= max_retries
    |            v                v  |  +----------> dead --+
    |         cancelled <---------+  |                      |  retry
    |                                |  failed, attempts left
    +--------------------------------+----------------------+
"""

from enum import StrEnum
from typing import NamedTuple

from queued.core.job_options import JobOptions


class State(StrEnum):
    """The stored state of a job."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Label(StrEnum):
    """A state as `queuectl` shows it: `pending` has two labels more, the others are the states."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    FAILED = "failed"
    PROCESSING = "processing"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How an attempt ended."""

    EXIT = "exit"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    OOM = "oom"
    LOST = "lost"
    SPAWN_ERROR = "spawn-error"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Operation(StrEnum):
    """The operations that move a job from one state to another."""

    CLAIM = "claim"
    SETTLE = "settle"
    CANCEL = "cancel"
    RETRY = "retry"


MOVES: dict[tuple[State, Operation], frozenset[State]] = {
    (State.PENDING, Operation.CLAIM): frozenset({State.PROCESSING}),
    (State.PENDING, Operation.CANCEL): frozenset({State.CANCELLED}),
    (State.PROCESSING, Operation.SETTLE): frozenset(
        {State.PENDING, State.COMPLETED, State.DEAD, State.CANCELLED}
    ),
    (State.PROCESSING, Operation.CANCEL): frozenset({State.PROCESSING}),  # a request
    (State.DEAD, Operation.RETRY): frozenset({State.PENDING}),
    (State.CANCELLED, Operation.RETRY): frozenset({State.PENDING}),
}


class Key(NamedTuple):
    """Names one claim: the job's row, the number of the run, and a random token.

    A write that carries a key does nothing unless all three still match.
    """

    job: int
    attempt: int
    token: int


class Claim(NamedTuple):
    """A job that is assigned to a worker, with the data that running and settling it need."""

    key: Key
    id: str
    queue: str
    command: str
    options: JobOptions
    attempts: int
    max_retries: int
    worker: int
    due_ms: int
    claimed_ms: int
    created_ms: int = 0
    fault: str | None = None  # the reason if the job cannot be run because its row is invalid


STDOUT, STDERR = 1, 2  # streams of a run; without `split` all output is STDOUT


class Chunk(NamedTuple):
    """A piece of output; `position` is the offset of its first byte in the stream."""

    stream: int
    position: int
    content: bytes


class Ending(NamedTuple):
    """How a run ended: reported by the worker, or by a rescue if the worker died."""

    outcome: Outcome
    exit_code: int | None = None
    signal: str | None = None
    error: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    ran_ms: int | None = None
    cpu_ms: int | None = None
    peak_kib: int | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    tail: bytes = b""

    @property
    def succeeded(self) -> bool:
        """Returns whether the command exited by itself with code 0."""
        return self.outcome is Outcome.EXIT and self.exit_code == 0


class NewJob(NamedTuple):
    """A checked job that is not stored yet. Without `id` the store generates one."""

    command: str
    id: str | None = None
    queue: str = "default"
    priority: int = 0
    run_at_ms: int | None = None
    delay_ms: int = 0
    max_retries: int | None = None
    options: str = "{}"


class Job(NamedTuple):
    """A stored job; times in milliseconds UTC."""

    seq: int
    id: str
    queue: str
    priority: int
    command: str
    options: JobOptions
    state: State
    label: Label
    next_run_at_ms: int
    attempts: int
    max_retries: int
    runs: int
    cancel_requested_ms: int | None
    last_error: str | None
    created_ms: int
    updated_ms: int

    def seen_at(self, now_ms: int) -> "Job":
        """Returns the job with the label that it has at `now_ms`.

        Only a service changes the stored label `scheduled` of a job that has become due; without a
        service this method returns such a job as `pending`.
        """
        due = self.label is Label.SCHEDULED and self.next_run_at_ms <= now_ms
        return self._replace(label=Label.PENDING) if due else self


class Attempt(NamedTuple):
    """One run of a job, finished or not."""

    number: int
    instance: str
    worker: int
    started_ms: int
    ended_ms: int | None
    outcome: Outcome | None
    exit_code: int | None
    signal: str | None
    error: str | None
    ran_ms: int | None
    cpu_ms: int | None
    peak_kib: int | None
    stdout_bytes: int
    stderr_bytes: int


class JobFilter(NamedTuple):
    """Which jobs to list: a label or state, a queue, and the order of enqueueing.

    `after_ms`: of scheduled jobs, only those that are due later.
    """

    label: Label | None = None
    queue: str | None = None
    reverse: bool = False
    after_ms: int = 0


class Instance(NamedTuple):
    """A running service: one supervisor and its children.

    `overrides` is a JSON object: for each setting that was given by a flag or a variable, its name.
    `host_id` names what shares the lock files of the instance: a boot of a host, or a container.
    `lease_s` is the length of its lease, 0 if only its lock file tells whether it lives; `beat`
    counts the renewals of the lease, the last of which was `silent_s` ago by the clock of the
    database; no program decides by that.
    """

    id: str
    host: str
    pid: int
    version: str
    started_ms: int
    stop_requested_ms: int | None
    overrides: str = "{}"
    host_id: str = ""
    lease_s: float = 0.0
    beat: int = 0
    silent_s: float = 0.0


class WorkerStatus(NamedTuple):
    """A worker of an instance, and the job that it runs."""

    instance: str
    worker: int
    pid: int
    started_ms: int
    job: str | None
    attempt: int | None
    command: str | None
    since_ms: int | None
    token: int | None  # of the claim


class Summary(NamedTuple):
    """Counts of jobs by queue and label, of the queues that have jobs; and what waits and moves."""

    queues: dict[str, dict[Label, int]]
    completed_lately: int  # in the last minute
    oldest_due_ms: int | None  # the due time of the oldest job that could run now

    @property
    def counts(self) -> dict[Label, int]:
        """Returns the counts over all queues."""
        return {label: sum(queue[label] for queue in self.queues.values()) for label in Label}
