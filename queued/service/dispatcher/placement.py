"""Decides which jobs this instance may claim: those of open queues that require labels it has.

While its host is drained, it may claim none. Also logs labels that ready jobs require and that no
live service has.
"""

from collections.abc import Collection

from queued.core import labels, queue_names, times
from queued.core.fair_share import Policy
from queued.core.model import Instance
from queued.core.records import Lane, Queue
from queued.core.settings_in_force import Settings
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.dispatcher.queue_claims import NO_QUEUES, OpenQueues
from queued.service.log import Log
from queued.store.ledger import Ledger

_CHECK_INTERVAL_S = 60.0


class Placement:
    """`queues`: those whose jobs may be claimed now; `suspended`: those whose runs are frozen."""

    def __init__(self, ledger: Ledger, instance: Instance, deadlines: Deadlines, log: Log) -> None:
        self.queues = NO_QUEUES
        self.suspended = frozenset[str]()
        self._ledger = ledger
        self._instance = instance
        self._deadlines = deadlines
        self._log = log
        # The settings `labels` and `queues` at the last read.
        self._given: tuple[str, str] | None = None
        self._drained = False
        self._paused: set[str] = set()
        self._own = frozenset[str]()
        self._served = frozenset[str]()  # see `queue_names.chosen`
        self._known: dict[int, Lane] = {}
        self._set: dict[str, Queue] = {}  # what users have set for queues
        self._checking = False  # whether the deadline of the next check is set
        # The missing labels that the last check has found, and whether an earlier one found them.
        self._unserved: dict[frozenset[str], bool] = {}

    def read(self, settings: Settings, *, changed: bool) -> None:
        """Reads lanes and drained hosts if they may have `changed`, and checks what is unserved.

        Call it inside a transaction; after a rollback the next call must have `changed`.
        """
        given = (settings.labels, settings.queues)
        if changed or given != self._given:
            self._read(given)
        if self._deadlines.due("placement", times.monotonic_s()):
            self._check()

    def _read(self, given: tuple[str, str]) -> None:
        self._given = given
        self._own, self._served = labels.split(given[0]), labels.split(given[1])
        self._own |= {labels.of_host(self._instance.host)}
        self._ledger.relabel(self._instance.id, labels.joined(self._own))
        found = self._ledger.lanes(after=max(self._known, default=-1))
        self._known |= {lane.number: lane for lane in found}
        self._read_queues()
        drained = self._instance.host in self._ledger.drained_hosts()
        if drained is not self._drained:
            self._drained = drained
            self._log.info("host.drained" if drained else "host.resumed", host=self._instance.host)
        opened = NO_QUEUES if drained else self._open()
        if opened != self.queues:
            self.queues = opened
        if not self._checking:
            self._set_deadline()

    def _read_queues(self) -> None:
        """Reads what users have set for queues; logs which were paused, suspended or resumed."""
        self._set = {one.name: one for one in self._ledger.queues.all()}
        paused = {name for name, one in self._set.items() if one.paused_ms is not None}
        for name in sorted(paused - self._paused):
            one = self._set[name]
            self._log.info("queue.paused", queue=name, by=one.paused_by, reason=one.paused_reason)
        for name in sorted(self._paused - paused):
            self._log.info("queue.resumed", queue=name)
        suspended = frozenset(n for n in paused if self._set[n].suspended_ms is not None)
        for name in sorted(suspended - self.suspended):
            self._log.info("queue.suspended", queue=name)
        self._paused, self.suspended = paused, suspended

    def _open(self) -> OpenQueues:
        """Returns the queues that are not paused, with the lanes that this instance may claim."""
        lanes: dict[str, tuple[int, ...]] = {}
        for lane in self._known.values():
            served = queue_names.chosen(self._served, lane.queue)
            if served and lane.requires <= self._own and lane.queue not in self._paused:
                lanes[lane.queue] = (*lanes.get(lane.queue, ()), lane.number)
        rows = {name: self._set.get(name, Queue(name)) for name in lanes}
        limits = {n: one.concurrency for n, one in rows.items() if one.concurrency is not None}
        rated = frozenset(name for name, one in rows.items() if one.rate is not None)
        policies = {
            name: Policy(one.priority, one.weight, name in limits or name in rated)
            for name, one in rows.items()
        }
        return OpenQueues(lanes, policies, limits, rated)

    def lanes(self, *, without: Collection[str] = ()) -> list[int]:
        """Returns the lanes of `queues`, but not of some of them."""
        opened = self.queues.lanes
        return [number for name in opened if name not in without for number in opened[name]]

    def _set_deadline(self) -> None:
        """Sets the time of the next check; none is needed while all jobs may be claimed."""
        self._checking = len(self.lanes()) < len(self._known)
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
