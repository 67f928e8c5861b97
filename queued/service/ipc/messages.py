"""What the processes of the service say to each other."""

from typing import Any

import msgspec

from queued.core.model import Chunk, Ending, Key

PROTOCOL = 2
QUICK_S = 0.02  # a worker whose runs take no longer is sent its next ones ahead of time


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A message; its class name is its tag."""


# Worker to dispatcher


class Hello(_Message, frozen=True):
    """The first message on a connection: who it is, and which claims it still holds."""

    protocol: int
    worker: int
    pid: int
    holding: list[Key]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A piece of output, and which positions of its stream are not kept: [head_end, tail_start)."""

    chunk: Chunk
    head_end: int
    tail_start: int


class Output(_Message, frozen=True):
    """A piece of a running command's output."""

    key: Key
    piece: Piece


class Result(_Message, frozen=True):
    """How a run ended, with the last of its output."""

    key: Key
    ending: Ending
    pieces: list[Piece]


class Returned(_Message, frozen=True):
    """A claim that was not started: somebody else may have it."""

    key: Key


# Dispatcher to worker


class Run(_Message, frozen=True):
    """A claim to run, now or next. It also says which results are durable."""

    key: Key
    recorded: list[Key]
    id: str
    queue: str
    command: str
    max_retries: int
    timeout_s: float
    kill_grace_s: float
    output_limit: int
    clean: bool
    options: dict[str, Any]


class Stored(_Message, frozen=True):
    """Output of this stream is durable up to this position."""

    key: Key
    stream: int
    end: int


class Recorded(_Message, frozen=True):
    """The result is durable, or (not accepted) the claim was lost: stop it and forget it."""

    key: Key
    accepted: bool


class Cancel(_Message, frozen=True):
    """Somebody wants the run to end."""

    key: Key


# Supervisor to dispatcher


class Roster(_Message, frozen=True):
    """To a new dispatcher: which workers live, as (worker, pid).

    Only deaths come before it: the dispatcher before may not have recorded them.
    """

    workers: list[tuple[int, int]]


class WorkerStarted(_Message, frozen=True):
    """A worker was forked."""

    worker: int
    pid: int


class WorkerGone(_Message, frozen=True):
    """A worker is dead and nothing that it started is alive. `clean`: it owed no result.

    `begun` is the token of the claim that it began last, 0 if it began none; None: that is not
    known. Claims that were made later than `until_s` are another's that has its number now.
    """

    worker: int
    pid: int
    clean: bool
    begun: int | None
    until_s: float


class Drain(_Message, frozen=True):
    """Claim nothing more."""


class Finish(_Message, frozen=True):
    """No worker lives: record what there is and exit."""


class Renew(_Message, frozen=True):
    """The settings have changed: exit once nothing is under way; another takes over."""


class Describe(_Message, frozen=True):
    """Log how the queue stands and what is running."""


# Dispatcher to supervisor


class Ready(_Message, frozen=True):
    """The database is open and a worker waits for work."""


class Applied(_Message, frozen=True):
    """Settings that are the supervisor's to obey."""

    workers: int
    shutdown_grace_s: float


class Load(_Message, frozen=True):
    """Which workers are busy, and how many jobs wait for one; sent when it has changed."""

    busy: list[int]
    waiting: int


class StopRequested(_Message, frozen=True):
    """Somebody used `worker stop`."""


class Fatal(_Message, frozen=True):
    """The dispatcher cannot go on and neither can the next one."""

    exit_code: int
    reason: str


Message = (
    Hello | Output | Result | Returned | Run | Stored | Recorded | Cancel
    | Roster | WorkerStarted | WorkerGone | Drain | Finish | Renew | Describe
    | Ready | Applied | Load | StopRequested | Fatal
)  # fmt: skip
