"""A job of the reference queue, and a condition that it waits for."""

from dataclasses import dataclass, field

from queued.core.model import State
from queued.core.rates import Rate

WAITING, ENDED = State.PENDING, frozenset({State.COMPLETED, State.DEAD, State.CANCELLED})


@dataclass
class Wait:
    """A condition of a job."""

    on: "Task"
    condition: str
    status: str = "waiting"

    def now(self) -> str:
        """The status by the state of the other job."""
        if self.on.state not in ENDED:
            return "waiting"
        wanted = {"after": State.COMPLETED, "after_fail": State.DEAD}
        met = self.on.state is wanted.get(self.condition, self.on.state)
        return "met" if met else "failed"


@dataclass
class Task:
    """A job of the reference queue."""

    seq: int
    queue: str
    run_at: int
    ready: bool
    created: int
    updated: int
    priority: int = 0
    max_retries: int = 3
    requires: str = ""
    slots: int = 1
    held: bool = False
    unique: str | None = None
    unique_while: str | None = None
    unique_until: int | None = None
    key: str | None = None
    key_limit: int = 1
    rate: Rate | None = None  # of the starts of jobs with a rate and its key
    in_line: bool = False  # for a place of its key
    expires: int | None = None
    schedule: str | None = None
    scheduled: int | None = None
    array: str | None = None
    waits: list[Wait] = field(default_factory=list)
    blocked: bool = False  # by them, or cancelled because of them
    awaited: bool = False
    changed: bool = False  # since its dependents were told
    state: State = State.PENDING
    attempts: int = 0
    runs: int = 0
    cancel: int | None = None
    owner: str | None = None
    worker: int | None = None
    token: int | None = None

    @property
    def live(self) -> bool:
        return self.state not in ENDED

    @property
    def held_unique(self) -> str | None:
        """The key that no other job may have now."""
        return (
            self.unique if self.unique_while == "any" or (self.unique_while and self.live) else None
        )

    def end(self, state: State, now: int) -> None:
        """Moves to a final state, or back to pending."""
        self.state, self.updated = state, now
        self.owner = self.worker = self.token = self.cancel = None
        self.held = self.blocked = self.in_line = False
        self.changed |= self.awaited and state is not WAITING
        self.ready = state is WAITING and self.run_at <= now and self.key is None

    @property
    def order(self) -> tuple[int, int, int]:
        """Of claiming."""
        return (-self.priority, self.run_at, self.seq)
