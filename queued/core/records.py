"""The records that a store returns: jobs, their runs, workers, and counts."""

from collections.abc import Sequence
from typing import NamedTuple

from queued.core.errors import UsageError
from queued.core.job_options import JobOptions
from queued.core.model import DEPENDENCY, ENDED, Label, Outcome, State
from queued.core.rates import Rate, stored
from queued.core.times import local_clock

MANY = 1_000_000  # jobs; more than a claim can take


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
    requires: frozenset[str] = frozenset()  # the labels that its service must have
    slots: int = 1  # of the limit of its queue
    submitted_by: str | None = None  # the user of the server, else that of queuectl's process
    unique_key: str | None = None
    unique_while: str | None = None  # None: the job gave its key up
    unique_until_ms: int | None = None
    expires_ms: int | None = None
    labels: dict[str, str] | None = None
    schedule: str | None = None  # whose firing it is
    scheduled_ms: int | None = None  # the time of the firing, unless a user ran it
    array_id: str | None = None  # the name of the array that it belongs to
    key: str | None = None
    key_limit: int = 1  # so many jobs with this key may run at once
    key_rate_starts: int | None = None  # the two fields of `key_rate`
    key_rate_ms: int | None = None

    @property
    def key_rate(self) -> Rate | None:
        """Returns how many jobs of its key with a rate may start in an interval; None: no rate."""
        return stored(self.key_rate_starts, self.key_rate_ms)

    @property
    def array_index(self) -> int | None:
        """Returns the index of a job of an array, which is the end of its id.

        None if another program has enqueued it with another id.
        """
        index = self.id.rpartition("_")[2]
        return int(index) if index.isascii() and index.isdecimal() else None

    @property
    def labels_text(self) -> str:
        """Returns the labels as `--label` takes them, separated by commas."""
        return ",".join(f"{name}={value}" for name, value in (self.labels or {}).items())

    @property
    def lacks_dependency(self) -> bool:
        """Returns whether the job was cancelled because it cannot start after another one."""
        reason = self.last_error or ""
        return self.state is State.CANCELLED and reason.startswith(f"{DEPENDENCY}: ")

    def seen_at(self, now_ms: int) -> "Job":
        """Returns the job with the label that it has at `now_ms`.

        Only a service changes the stored label `scheduled` of a job that has become due; without a
        service this method returns such a job as `pending`.
        """
        due = self.label is Label.SCHEDULED and self.next_run_at_ms <= now_ms
        return self._replace(label=Label.PENDING) if due else self


class Lane(NamedTuple):
    """A distinct pair of a queue and the labels that a job requires, and its number.

    Lane 0 is that of the queue `default` without labels.
    """

    number: int
    queue: str
    requires: frozenset[str]


class Share(NamedTuple):
    """A part of a claim: at most `most` jobs of the lanes of one queue.

    `limited`: the queue has a limit of running jobs, or a rate.
    """

    queue: str = "default"
    lanes: Sequence[int] = (0,)
    most: int = MANY
    limited: bool = False


class Queue(NamedTuple):
    """What users have set for a queue; times in milliseconds UTC.

    `concurrency`: how many places its running jobs may take, None for no limit. While a queue is
    draining, it takes no new jobs. `defaults` is a JSON object of fields for its new jobs. While it
    is suspended, which only a paused queue can be, its running jobs are frozen. The two fields of
    its rate are both None if it has none.
    """

    name: str
    concurrency: int | None = None
    priority: int = 0
    weight: int = 1
    paused_ms: int | None = None
    paused_by: str | None = None
    paused_reason: str | None = None
    draining_ms: int | None = None
    defaults: str = "{}"
    suspended_ms: int | None = None
    note: str | None = None
    rate_starts: int | None = None
    rate_ms: int | None = None

    @property
    def rate(self) -> Rate | None:
        """Returns how many of its jobs may start in how much time; None for no limit."""
        return stored(self.rate_starts, self.rate_ms)

    def obstacle(self, used: int, next_ms: int | None) -> str:
        """Returns why no job of it can start while running ones take `used` places, or empty.

        `next_ms`: when its rate allows the next start; None if now.
        """
        if self.paused_ms is not None:
            reason = f": {self.paused_reason}" if self.paused_reason else ""
            return f"queue {self.name} is paused{reason}"
        if self.concurrency == 0:
            return f"queue {self.name} starts no jobs (concurrency 0)"
        if self.concurrency is not None and used >= self.concurrency:
            return f"queue {self.name} is full: {used} of {self.concurrency} places are in use"
        if next_ms is not None:
            told = f"queue {self.name} has reached its rate {self.rate}"
            return f"{told}: next start at {local_clock(next_ms)}"
        return ""


class StartWindow(NamedTuple):
    """What the rate of a queue allows now: so many starts, or the next one at a time.

    `waiting`: no start is allowed, and a job of the queue is ready.
    """

    left: int
    next_ms: int | None  # None if a start is allowed
    waiting: bool


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
    deferrals: int = 0  # the runs deferred in a row, of which this is the last


class JobFilter(NamedTuple):
    """Which jobs a command is about: those that match every field that is given.

    `labels`: any of these states; `pending` includes the labels that are parts of it; none: all.
    `command`: a pattern of the whole command, in which `*` stands for any text and `?` for any
    character. The outcomes and the exit code are of the last run; the outcome `dependency` is that
    of a job that cannot start. Times are those of the last change of the job. `now_ms`: jobs that
    are due by then are not scheduled any more.
    """

    labels: tuple[Label, ...] = ()
    queue: str | None = None
    command: str | None = None
    priority: int | None = None
    job_label: tuple[str, str] | None = None  # a name and its value
    outcomes: tuple[str, ...] = ()
    exit_code: int | None = None
    schedule: str | None = None
    array_id: str | None = None
    key: str | None = None
    queues: tuple[str, ...] = ()  # any of these
    not_queues: tuple[str, ...] = ()  # none of these
    by: str | None = None  # the user that submitted the job
    since_ms: int | None = None
    before_ms: int | None = None
    now_ms: int = 0

    def ended(self) -> "JobFilter":
        """Returns the filter with the states of ended jobs only. Raises UsageError if it has none.

        Without a state the result has all of them.
        """
        labels = tuple(label for label in ENDED if label in (self.labels or ENDED))
        if not labels:
            msg = "only jobs that are completed, dead or cancelled can be deleted"
            raise UsageError(msg)
        return self._replace(labels=labels)


ANY_JOB = JobFilter()


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


class PruneStep(NamedTuple):
    """One step of a scan for ended jobs of one state; `after` is where the next step begins."""

    removed: int
    after: int
    done: bool
    oldest_ms: int | None  # the earliest time of an end, of the jobs that were read and not removed


class SnapshotHolder(NamedTuple):
    """A session of a database server that keeps dead rows of the queue from being removed.

    Texts are empty, and `age_s` is None, if this user may not see them.
    """

    pid: int  # on the server
    snapshot: int  # its number; a session may use one after another
    user: str
    address: str
    application: str
    state: str
    age_s: float | None  # of its transaction
