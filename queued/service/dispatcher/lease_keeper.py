"""Renews the lease of this instance, and finds the instances of other hosts whose lease is over."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from queued.core import times
from queued.core.errors import TRANSIENT, BusyError, EvictedError, QueuedError
from queued.core.lease import IdleRenewal, Lease
from queued.core.model import Instance
from queued.core.settings_in_force import Settings
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.dispatcher.quarantine import Quarantine
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.log import Log
from queued.store.ledger import Ledger

_AGAIN_S = 1.0  # between two tries to take over the jobs of an instance


class LeaseKeeper:
    """The lease of this instance. Without a lease no renewal is due, and claims are allowed.

    The workers and the warden read the time of the last renewal on the scoreboard.
    """

    def __init__(
        self,
        ledger: Ledger,
        instance: Instance,
        scoreboard: Scoreboard,
        deadlines: Deadlines,
        log: Log,
    ) -> None:
        self._ledger = ledger
        self._instance = instance
        self._scoreboard = scoreboard
        self._deadlines = deadlines
        self._lease = Lease(instance.lease_s) if instance.lease_s else None
        self._sent_s: float | None = None  # when the renewal began that is not committed yet
        self._connections = 0  # of the ledger, at the last renewal that was committed
        self._quarantine = Quarantine(ledger, log)
        self._news: str | None = None  # of the last renewal without a turn

    def begin(self) -> None:
        """Notes the time from which the lease counts; call it before the transaction."""
        self._sent_s = times.boot_s()

    def renew(self, settings: Settings) -> bool:
        """Renews the lease in the transaction, after `begin` or on a new connection.

        Returns whether the database may lack commits of this instance after a failover. Raises
        EvictedError if another host has taken over its jobs.
        """
        return self._renew(lossless=settings.failover == "lossless")

    def _renew(self, *, lossless: bool) -> bool:
        reconnected = self._ledger.connections() != self._connections
        if self._lease is None or not (reconnected or self._sent_s is not None):
            return False
        self._sent_s = self._sent_s or times.boot_s()
        renewal = self._ledger.renew(self._instance.id)
        if renewal is None and reconnected:  # the server may lack the row, too
            self._ledger.register(self._instance, now_ms=self._ledger.now_ms())
            renewal = self._ledger.renew(self._instance.id)
        if renewal is None:
            msg = "another host has taken over the jobs of this service; the service ends"
            raise EvictedError(msg)
        return self._quarantine.observe(renewal, lossless=lossless)

    def renew_idle(self, lanes: Sequence[int]) -> IdleRenewal | None:
        """Renews the lease by one statement, if no other deadline has come.

        The instance must have no claims. The answer `has_work` also if other things have changed
        for which a turn is necessary, with or without a notification. Returns None if a turn must
        renew the lease: the statement failed, the server may be another one, or the jobs were taken
        over.
        """
        if not self._deadlines.only_due("renewal", times.monotonic_s()):
            return None
        self.begin()
        try:
            found = self._ledger.renew_idle(self._instance.id, lanes)
        except TRANSIENT:
            return None
        reconnected = self._ledger.connections() != self._connections
        if found is None or reconnected or not self._quarantine.is_usual(found.renewal):
            return None
        self._quarantine.observe(found.renewal, lossless=False)
        self.on_committed(times.monotonic_s())
        before, self._news = self._news, found.news
        return found._replace(has_work=found.has_work or found.news != before)

    def on_rollback(self, error: QueuedError, now_s: float) -> None:
        """Makes the next turn renew the lease; renews it at once if a lock was the reason.

        Another program may lock the jobs for longer than the lease, which must end no run. If the
        commit of the turn was made and only not confirmed by a synchronous standby, the commit of
        the next turn confirms it, too, so that turn must write something.
        """
        self._quarantine.on_rollback()
        if self._lease is None:
            return
        self._deadlines.set("renewal", now_s)
        if isinstance(error, BusyError) and self._ledger.connections() == self._connections:
            with suppress(*TRANSIENT):
                self._renew_alone(now_s)

    def _renew_alone(self, now_s: float) -> None:
        """Renews the lease in a transaction of its own.

        If commits are missing, because this transaction was the first one of a new connection, the
        renewal does not count: the next turn finds the same, and restores the claims.
        """
        self.begin()
        with self._ledger.transaction():
            missing = self._renew(lossless=False)
        if not missing:
            self.on_committed(now_s)

    def on_committed(self, now_s: float) -> None:
        """Records a renewal that was committed on the scoreboard, and when the next one is due."""
        if self._lease is None or self._sent_s is None:
            return
        self._scoreboard.record_lease(self._lease, self._sent_s)
        self._connections, self._sent_s = self._ledger.connections(), None
        self._quarantine.on_committed()
        quarantined_s = (self._quarantine.over_s or times.NEVER_S) - times.boot_s()
        self._deadlines.set("renewal", now_s + min(self._lease.renewal_s, max(0, quarantined_s)))

    @property
    def may_claim(self) -> bool:
        """Whether the lease lasts long enough to claim jobs, if the transaction is committed.

        False in quarantine.
        """
        if self._quarantine.over_s is not None:
            return False
        if self._lease is None or self._sent_s is not None:
            return True
        return times.boot_s() < self._scoreboard.renewed_s + self._lease.claiming_s


class LeaseObserver:
    """Measures how long the instances of other hosts have not renewed their leases.

    It compares no clock of another host: a lease is over if the same renewal was seen for longer
    than the lease and its margin, on the clock of this host.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def observe(self, others: Sequence[Instance]) -> None:
        """Notes the renewals of the instances of other hosts, as they were read from the ledger."""
        now_s, before = times.boot_s(), self._seen
        self._seen = {}
        for other in others:
            seen = before.get(other.id)
            if seen is None or seen.beat != other.beat:
                seen = _Seen(other.beat, now_s + Lease(other.lease_s).takeover_s)
            self._seen[other.id] = seen

    def over(self, others: Sequence[Instance]) -> list[Instance]:
        """Returns those of the observed instances whose lease is over."""
        return [other for other in others if times.boot_s() >= self._seen[other.id].over_s]

    def next_s(self) -> float:
        """Returns when the first lease is over, in monotonic seconds; `NEVER_S` without leases."""
        over_s = min((seen.over_s for seen in self._seen.values()), default=times.NEVER_S)
        return times.monotonic_s() + max(_AGAIN_S, over_s - times.boot_s())


class _Seen(NamedTuple):
    """The last renewal that was seen, and the end of the lease if no other one is seen."""

    beat: int
    over_s: float  # of `times.boot_s`
