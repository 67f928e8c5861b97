"""Reports the load of the queue: to the supervisor for its status line, and to the log on USR1.

The counts are read in the transaction of a turn, at most four times a second.
"""

from queued.core import times
from queued.core.model import Label
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.dispatcher.job_log import names
from queued.service.dispatcher.turn_results import Turn
from queued.service.ipc.channel import Channel
from queued.service.ipc.messages import Load
from queued.service.log import Log
from queued.store.ledger import Ledger

_MIN_INTERVAL_S = 0.25

Counts = dict[Label, int]


class LoadReporter:
    """Sends the load when it has changed, at most once in `_MIN_INTERVAL_S`."""

    def __init__(self, ledger: Ledger, supervisor: Channel, deadlines: Deadlines, log: Log) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._deadlines = deadlines
        self._log = log
        self._sent: Load | None = None
        self._asked = False
        self._not_before_s = 0.0

    def describe(self) -> None:
        """Makes the next turn log the counts and the running jobs."""
        self._asked = True

    def read_counts(self, now_s: float) -> Counts | None:
        """Returns the number of jobs by label; None, and sets a deadline, if it is too early."""
        if now_s < self._not_before_s and not self._asked:
            self._deadlines.set("load", self._not_before_s)
            return None
        return self._ledger.counts()

    def on_committed(self, turn: Turn, counts: Counts | None, now_s: float) -> None:
        """Sends the load if the committed turn has changed it, and logs it if asked to."""
        if counts is None:
            return
        self._deadlines.set("load", times.NEVER_S)
        load = Load(busy=turn.claims.busy(), waiting=counts.get(Label.PENDING, 0))
        if load != self._sent:
            self._sent, self._not_before_s = load, now_s + _MIN_INTERVAL_S
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
