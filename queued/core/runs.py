"""The records of claims and runs, which the dispatcher, the workers and the store exchange."""

from typing import NamedTuple

from queued.core.job_options import JobOptions
from queued.core.model import Outcome


class Key(NamedTuple):
    """Names one claim: the job's row, the number of the run, and a random token.

    A write that carries a key does nothing unless all three still match.
    """

    job: int
    attempt: int
    token: int


class HeldRun(NamedTuple):
    """A claim that a worker holds, with the names of its job.

    `id` and `created_ms` tell its job from another one that has got the same row after a failover.
    """

    key: Key
    id: str
    created_ms: int


class SignalRequest(NamedTuple):
    """A signal to send to the run of a claim; its name is without `SIG`."""

    key: Key
    name: str


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
    expires_ms: int | None = None  # the run is not begun from this time on
    fault: str | None = None  # the reason if the job cannot be run because its row is invalid

    @property
    def held(self) -> HeldRun:
        """Returns what the worker that runs it knows the claim by."""
        return HeldRun(self.key, self.id, self.created_ms)

    @property
    def waited_ms(self) -> int:
        """Returns how long the job had been due at the time of the claim."""
        return max(0, self.claimed_ms - max(self.due_ms, self.created_ms))


STDOUT, STDERR = 1, 2  # streams of a run; without `split` all output is STDOUT


class Chunk(NamedTuple):
    """A piece of output; `position` is the offset of its first byte in the stream."""

    stream: int
    position: int
    content: bytes


class Ending(NamedTuple):
    """How a run ended: reported by the worker, or by a rescue if the worker died.

    `started_ms` and `ended_ms` are by the wall clock of the worker's host, which may be wrong or
    set meanwhile; `ended_boot_ms` is by its clock since boot.
    """

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
    ended_boot_ms: int | None = None

    @property
    def succeeded(self) -> bool:
        """Returns whether the command exited by itself with code 0."""
        return self.outcome is Outcome.EXIT and self.exit_code == 0
