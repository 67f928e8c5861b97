"""The states of a job, the outcomes of a run, and a job that is not stored yet.

Every queuectl imports this module: each enum and record takes an eighth of a millisecond.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from queued.core.rates import Rate


class State(StrEnum):
    """The stored state of a job."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Label(StrEnum):
    """A state as `queuectl` shows it: `pending` has four labels more, the others are the states."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    HELD = "held"
    BLOCKED = "blocked"
    FAILED = "failed"
    PROCESSING = "processing"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


PARTS_OF_PENDING = (Label.SCHEDULED, Label.HELD, Label.BLOCKED, Label.FAILED)
ENDED = (Label.COMPLETED, Label.DEAD, Label.CANCELLED)


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
    EXPIRED = "expired"  # it was not started in time


DEPENDENCY = "dependency"  # the outcome of a job that cannot start after another one; of no attempt
OUTCOMES = (*Outcome, DEPENDENCY)  # of a job


# If a job holds the unique key of a new one: its id is the result, TakenKeyError is raised, or the
# job is cancelled if it is pending.
OnTakenKey = Literal["keep", "fail", "replace"]


CONDITIONS = ("after", "after_any", "after_fail")  # of a job that waits for others


class Array(NamedTuple):
    """The indexes of a job array, and how many of its jobs may run at once; None for no limit."""

    indexes: tuple[int, ...]
    at_once: int | None


class NewJob(NamedTuple):
    """A checked job that is not stored yet. Without `id` the store generates one.

    `delay_ms` counts from the moment of storing, and has no effect if `run_at_ms` is given.
    `requires`: the labels that a service must have, as `labels.joined` returns them. `slots`: how
    many places of its queue's limit it takes while it runs. `unique_key`: no other job with this
    key is stored while this one waits, is active (waits or runs), or exists at all (`any`), and at
    most for `unique_for_ms`. The job is not started from `expires_at_ms` on, nor `expires_in_ms`
    after the moment of storing. `labels` is a JSON object. `after`, `after_any`, `after_fail`: the
    ids of jobs that must have completed, ended, or become dead. `array`: the indexes of the jobs
    that `arrays.new_jobs` makes of this one, each of which has the name of the array as `array_id`
    and waits for the jobs with its index of the arrays `after_index`.
    It starts while fewer than `key_limit` jobs with its `key` run. If so many are due or run when
    it is stored, it waits for them, or (`on_conflict`: `discard`) it is not stored. It starts only
    if its `key_rate` allows that after the starts of other jobs with its key that have a rate.
    """

    command: str
    id: str | None = None
    queue: str = "default"
    priority: int = 0
    run_at_ms: int | None = None
    delay_ms: int = 0
    max_retries: int | None = None
    options: str = "{}"
    requires: str = ""
    hold: bool = False
    slots: int = 1
    unique_key: str | None = None
    unique_while: str = "active"
    unique_for_ms: int | None = None
    expires_at_ms: int | None = None
    expires_in_ms: int | None = None
    labels: str | None = None
    stdin: bytes = b""
    after: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()
    after_fail: tuple[str, ...] = ()
    array: Array | None = None
    after_index: tuple[str, ...] = ()
    array_id: str | None = None
    key: str | None = None
    key_limit: int = 1
    on_conflict: str = "wait"
    key_rate: "Rate | None" = None

    @property
    def waits(self) -> bool:
        """Returns whether the job waits for other jobs."""
        return bool(self.after or self.after_any or self.after_fail)

    @property
    def dependencies(self) -> list[tuple[str, str]]:
        """Returns the conditions under which the job may start: a name, and the id of a job."""
        return [
            (condition, other) for condition in CONDITIONS for other in getattr(self, condition)
        ]

    def due_ms(self, now_ms: int) -> int:
        """Returns when the job may run first, in milliseconds UTC, if it is stored at `now_ms`."""
        return now_ms + self.delay_ms if self.run_at_ms is None else self.run_at_ms

    def expires_ms(self, now_ms: int) -> int | None:
        """Returns when the job expires, if it is stored at `now_ms`; None if it does not."""
        after_ms = None if self.expires_in_ms is None else now_ms + self.expires_in_ms
        given = [ms for ms in (self.expires_at_ms, after_ms) if ms is not None]
        return min(given) if given else None

    def unique(self, now_ms: int) -> dict[str, str | int | None]:
        """Returns the columns of the key, if the job is stored at `now_ms`."""
        return {
            "unique_key": self.unique_key,
            "unique_while": None if self.unique_key is None else self.unique_while,
            "unique_until": None if self.unique_for_ms is None else now_ms + self.unique_for_ms,
        }


class ExistingJob(str):
    """The id of an existing job that holds the unique key of a new one, which was not stored."""

    __slots__ = ()
    why = "has the unique key"


class KeyUser(ExistingJob):
    """The id of a job that uses the key of a new one, which was discarded."""

    __slots__ = ()
    why = "uses the key"


class Instance(NamedTuple):
    """A running service: one supervisor and its children.

    `overrides` is a JSON object: for each setting that was given by a flag or a variable, its name.
    Instances with the same `host_id` can see the locks of each other; see `instance_lock.scope`.
    `lease_s` is the length of the lease, or 0 if only the lock file shows whether the instance
    lives. `beat` counts the renewals of the lease. The last one was `silent_s` ago by the clock of
    the database, which is for people: a take-over does not depend on it. `labels` are in the form
    that `labels.joined` returns.
    """

    id: str
    host: str
    pid: int
    version: str
    started_ms: int
    stop_requested_ms: int | None
    overrides: str = "{}"
    labels: str = ""
    host_id: str = ""
    lease_s: float = 0.0
    beat: int = 0
    silent_s: float = 0.0
