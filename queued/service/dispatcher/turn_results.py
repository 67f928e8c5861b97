"""The consequences of one turn, which are used if its commit succeeds and dropped if it fails."""

from collections.abc import Collection
from typing import NamedTuple

from queued.core.model import Outcome, State
from queued.core.runs import Chunk, Claim, Ending, Key
from queued.core.settings_in_force import Settings
from queued.core.settlement import Settlement, Verdict
from queued.service.dispatcher.claims import ClaimTable
from queued.service.ipc.messages import Message, Piece

_LOCKED_MS = 100  # after which jobs that were locked are looked at again


class RecordedRun(NamedTuple):
    """A run whose end was recorded, and the state of its job after it."""

    claim: Claim
    ending: Ending
    verdict: Verdict
    state: State


class ClaimLoss(NamedTuple):
    """The reason of a loss, and the tokens of the lost claims that had begun (None: not known)."""

    why: str
    begun: Collection[int] | None


class Turn:
    """The consequences of one transaction, all with the same settings and the same time."""

    def __init__(self, claims: ClaimTable, settings: Settings, now_ms: int) -> None:
        self.settings = settings
        self.now_ms = now_ms
        self.claims = claims.copy()
        self.claimed: list[Claim] = []
        self.returned: list[Claim] = []
        self.settled: list[Settlement] = []  # by this turn, until `record`
        self.ack_due: set[Key] = set()  # of `settled`; their workers wait for the record
        self.finished: list[RecordedRun] = []
        self.stale: dict[Key, str] = {}  # ids of jobs by claims that are not in force any more
        self.restored: list[Claim] = []  # claims that a failover had lost, recorded again
        self.missing: list[Claim] = []  # claims whose jobs a failover has lost
        self.printed: list[tuple[Claim, Chunk]] = []
        self.gaps: dict[tuple[Key, int], Piece] = {}  # by stream: the last piece that names its gap
        self.replies: dict[int, list[Message]] = {}
        self.pending_acks: dict[int, list[Key]] = {}  # by worker, until a reply carries them
        self.next_due_ms: int | None = None
        self.rate_waits = False  # whether a job waits only for the rate of its queue or its key
        self.time_waits = False  # whether a job waits for a time that the service waits for, too
        self.lanes_made = False  # by hooks: the next turn must read the lanes again

    def ended_runs(self) -> int:
        """Returns how many recorded runs have ended.

        Those that will be repeated, and jobs that have expired without a run, do not count.
        """
        uncounted = {Outcome.INTERRUPTED, Outcome.EXPIRED}
        return sum(run.ending.outcome not in uncounted for run in self.finished)

    def is_due_soon(self) -> bool:
        """Returns whether jobs wait for a rate or a time, or are due and another one locks them."""
        if self.rate_waits or self.time_waits:
            return True
        return self.next_due_ms is not None and self.next_due_ms <= self.now_ms + _LOCKED_MS

    def wake_at(self, at_ms: int | None) -> None:
        """Lets another turn begin at this time, if there is one and none begins earlier."""
        if at_ms is not None:
            self.next_due_ms = at_ms if self.next_due_ms is None else min(at_ms, self.next_due_ms)

    def add_output(self, claim: Claim, piece: Piece) -> None:
        """Adds a piece of a run's output, and the gap that it names."""
        self.printed.append((claim, piece.chunk))
        if piece.tail_start > piece.head_end:
            self.gaps[claim.key, piece.chunk.stream] = piece

    def reply(self, worker: int, message: Message) -> None:
        """Adds a message that is sent to the worker after the commit."""
        self.replies.setdefault(worker, []).append(message)
