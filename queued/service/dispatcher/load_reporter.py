"""How busy the queue is, for the supervisor's status line and for who asks with USR1.

Read in the turn's own transaction: a few times a second under load, and never while idle.
"""

import math

from queued.core import times
from queued.core.model import Label
from queued.service.dispatcher.job_log import names
from queued.service.dispatcher.turn import Turn
from queued.service.ipc.channel import Channel
from queued.service.ipc.messages import Load
from queued.service.log import Log
from queued.store.protocols import Ledger

_AGAIN_S = 0.25

Counts = dict[Label, int]


class LoadReporter:
    """Tells what has changed, at once if nothing was told lately."""

    def __init__(self, ledger: Ledger, supervisor: Channel, log: Log) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._log = log
        self._told: Load | None = None
        self._asked = False
        self._rests_until_s = 0.0
        self.next_s = math.inf  # when something that was not told wants to be

    def describe(self) -> None:
        """Somebody wants the whole picture in the log."""
        self._asked = True

    def due(self, now_s: float) -> bool:
        """Whether a turn is wanted for it."""
        return self._asked or now_s >= self.next_s

    def read(self, now_s: float) -> Counts | None:
        """How many jobs stand where; None if that was told a moment ago and can wait."""
        if now_s < self._rests_until_s and not self._asked:
            self.next_s = self._rests_until_s
            return None
        return self._ledger.counts()

    def tell(self, turn: Turn, counts: Counts | None, now_s: float) -> None:
        """Tells what the committed turn has changed."""
        if counts is None:
            return
        self.next_s = math.inf
        load = Load(busy=turn.claims.busy(), waiting=counts.get(Label.PENDING, 0))
        if load != self._told:
            self._told, self._rests_until_s = load, now_s + _AGAIN_S
            self._supervisor.send(load)
        if self._asked:
            self._asked = False
            self._describe(turn, counts)

    def _describe(self, turn: Turn, counts: Counts) -> None:
        self._log.info(
            "queue.described",
            **{label.value: counts.get(label, 0) for label in Label},
            running=[
                {"worker": claim.worker, **names(claim), "since": times.iso(claim.claimed_ms)}
                for claim in turn.claims.running()
            ],
        )
