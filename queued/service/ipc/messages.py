"""The messages between the processes of the service."""

import msgspec

from queued.core.job_options import NO_OPTIONS, JobOptions
from queued.core.runs import Chunk, Ending, HeldRun, Key
from queued.core.settings import Value
from queued.core.settings_in_force import Settings

QUICK_S = 0.02  # a worker whose runs take no longer is sent its next ones ahead of time


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A message; its class name is its tag."""


# Worker to dispatcher


class Hello(_Message, frozen=True):
    """The answer to Welcome: which claims the worker still holds, and which of them have begun.

    Messages that came before it were for an earlier dispatcher. The worker sends again all that is
    not yet durable.
    """

    session: int
    holding: list[HeldRun]
    begun: list[Key] = []


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A piece of output. The positions [head_end, tail_start) of its stream are not kept."""

    chunk: Chunk
    head_end: int
    tail_start: int


class Output(_Message, frozen=True):
    """A piece of a running command's output."""

    key: Key
    piece: Piece


class Result(_Message, frozen=True):
    """How a run ended, with the rest of its output; `id` is that of its job."""

    key: Key
    id: str
    ending: Ending
    pieces: list[Piece]


class Returned(_Message, frozen=True):
    """A claim that was not started and is free for another worker."""

    key: Key


# Dispatcher to worker


class Welcome(_Message, frozen=True):
    """The first message of a dispatcher; `session` tells it from the dispatchers before."""

    session: int


class Run(_Message, frozen=True, omit_defaults=True):
    """A claim to run, now or next, and the worker's claims whose results are durable.

    From `expires_ms` on, by the clock of this host, the run is not begun.
    """

    key: Key
    recorded: list[Key]
    id: str
    created_ms: int
    queue: str
    command: str
    max_retries: int
    timeout_s: float
    kill_grace_s: float
    output_limit: int
    clean: bool
    options: JobOptions = NO_OPTIONS
    expires_ms: int | None = None

    @property
    def held(self) -> HeldRun:
        """Returns the claim as the worker names it to a later dispatcher."""
        return HeldRun(self.key, self.id, self.created_ms)


class Input(_Message, frozen=True):
    """The next piece of the standard input of a claim, whose Run message follows."""

    key: Key
    content: bytes


class Stored(_Message, frozen=True):
    """Output of this stream is durable up to this position."""

    key: Key
    stream: int
    end: int


class Recorded(_Message, frozen=True):
    """The result is durable; or, if not accepted, the claim is no longer in force: drop it."""

    key: Key
    accepted: bool


class Cancel(_Message, frozen=True):
    """The run must be stopped because its job is cancelled."""

    key: Key


class Signal(_Message, frozen=True):
    """The processes of the run must get this signal; its name is without `SIG`."""

    key: Key
    name: str


class Suspend(_Message, frozen=True):
    """The run must be frozen, or, if not `wanted`, go on."""

    key: Key
    wanted: bool


class LogSettings(_Message, frozen=True):
    """The level and the style in which the worker logs, and the size of a log file."""

    level: str
    style: str
    max_file_bytes: int


# Supervisor to dispatcher


class Roster(_Message, frozen=True):
    """To a new dispatcher: the workers that live, or are dead with processes still to be killed.

    Before it come the deaths that the earlier dispatcher may not have recorded, and a WorkerStarted
    for each living worker.
    """

    workers: list[int]


class WorkerStarted(_Message, frozen=True):
    """A worker was started. The message comes with a socket that is connected to it."""

    worker: int
    pid: int


class WorkerGone(_Message, frozen=True):
    """A worker is dead, and no process that it started is alive.

    `clean`: all its results are recorded. `begun`: the token of the claim that it began last, 0 if
    none, None if unknown. Claims newer than `claims_before_s` belong to the next worker in its
    slot. `number` grows from death to death.
    """

    number: int
    worker: int
    pid: int
    clean: bool
    begun: int | None
    claims_before_s: float


class Drain(_Message, frozen=True):
    """Claim nothing more."""


class Finish(_Message, frozen=True):
    """No worker lives: record what there is and exit."""


class Reload(_Message, frozen=True):
    """Read the conf file again and apply it; the answer is Reloaded with the same number."""

    number: int


class Describe(_Message, frozen=True):
    """Log the counts of jobs by state, and the running jobs."""


# Dispatcher to supervisor


class WorkerFaulty(_Message, frozen=True):
    """A worker sent a packet that is no message for the dispatcher: it must be replaced."""

    worker: int
    pid: int


class Ready(_Message, frozen=True):
    """The database is open and a worker waits for work."""


class Applied(_Message, frozen=True):
    """The settings in force, and the content of the conf file when it was read."""

    settings: Settings
    file: dict[str, Value]


class Reloaded(_Message, frozen=True):
    """The conf file was read again and is in force, or was refused for the reason in `refused`."""

    number: int
    refused: str | None


class DeathsRecorded(_Message, frozen=True):
    """The deaths of workers up to this number are durable."""

    number: int


class Load(_Message, frozen=True):
    """The busy workers, and how many jobs wait for a worker; sent when it has changed."""

    busy: list[int]
    waiting: int


class StopRequested(_Message, frozen=True):
    """`queuectl worker stop` asks this instance to stop; or `done` says why its work is done."""

    done: str = ""


class Fatal(_Message, frozen=True):
    """The dispatcher cannot go on, and another one could not either."""

    exit_code: int
    reason: str


Message = (
    Hello | Output | Result | Returned | Welcome | Run | Input | Stored | Recorded | Cancel | Signal
    | Suspend | LogSettings | Roster | WorkerStarted | WorkerGone | Drain | Finish | Reload
    | Describe | WorkerFaulty | Ready | Applied | Reloaded | DeathsRecorded | Load | StopRequested
    | Fatal
)  # fmt: skip
