"""Decides which jobs this instance may claim: those that require only labels that it has.

While its host is drained, it may claim none. Also logs labels that ready jobs require and that no
live service has.
"""

from queued.core import labels, times
from queued.core.model import Instance
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.log import Log
from queued.store.ledger import Ledger

_CHECK_INTERVAL_S = 60.0


class Placement:
    """`lanes`: the numbers of the lanes whose jobs may be claimed now."""

    def __init__(self, ledger: Ledger, instance: Instance, deadlines: Deadlines, log: Log) -> None:
        self.lanes: list[int] = []
        self._ledger = ledger
        self._instance = instance
        self._deadlines = deadlines
        self._log = log
        self._given: str | None = None  # the setting at the last read
        self._drained = False
        self._own = frozenset[str]()
        self._known: dict[int, frozenset[str]] = {}  # what each lane requires
        self._checking = False  # whether the deadline of the next check is set
        # The missing labels that the last check has found, and whether an earlier one found them.
        self._unserved: dict[frozenset[str], bool] = {}

    def read(self, given: str, *, changed: bool) -> None:
        """Reads lanes and drained hosts if they may have `changed`, and checks what is unserved.

        `given` is the setting `labels` of this service. Call it inside a transaction; after a
        rollback the next call must have `changed`.
        """
        if changed or given != self._given:
            self._read(given)
        if self._deadlines.due("placement", times.monotonic_s()):
            self._check()

    def _read(self, given: str) -> None:
        self._given = given
        self._own = labels.split(given) | {labels.of_host(self._instance.host)}
        self._ledger.relabel(self._instance.id, labels.joined(self._own))
        found = self._ledger.lanes(after=max(self._known, default=-1))
        self._known |= {lane.number: lane.requires for lane in found}
        drained = self._instance.host in self._ledger.drained_hosts()
        if drained is not self._drained:
            self._drained = drained
            self._log.info("host.drained" if drained else "host.resumed", host=self._instance.host)
        fitting = [number for number, required in self._known.items() if required <= self._own]
        self.lanes = [] if drained else fitting
        if not self._checking:
            self._set_deadline()

    def _set_deadline(self) -> None:
        """Sets the time of the next check; none is needed while all jobs may be claimed."""
        self._checking = len(self.lanes) < len(self._known)
        next_s = times.monotonic_s() + _CHECK_INTERVAL_S if self._checking else times.NEVER_S
        self._deadlines.set("placement", next_s)

    def on_committed(self, *, lanes_made: bool) -> bool:
        """Returns whether another turn must `read`, because this instance has made new lanes."""
        if lanes_made:
            self._given = None
        return lanes_made

    def reset(self) -> None:
        """Makes the next `read` store the labels and read all lanes again.

        Call it if the database may have lost them in a failover.
        """
        self._given, self._known = None, {}

    def _check(self) -> None:
        """Once a minute, logs labels that ready jobs require and that no live service has.

        Missing labels are logged if two checks have found them, because their service may be
        starting again.
        """
        self._set_deadline()
        drained = self._ledger.drained_hosts()
        services = [
            labels.split(instance.labels)
            for instance in self._ledger.instances()
            if instance.host not in drained
        ]
        required = self._ledger.required_now()
        found = {labels.missing(one, services) for one in required} - {frozenset[str]()}
        for missing in found:
            if self._unserved.get(missing) is False:
                self._log.warning(
                    "queue.unserved",
                    labels=sorted(missing),
                    action="start a service with these --labels, or resume a drained host",
                )
        self._unserved = {missing: missing in self._unserved for missing in found}
