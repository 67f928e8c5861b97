"""Keeps this host from claiming jobs after a failover until all earlier leases are over.

A standby that was promoted, or a backup that was restored, may lack claims whose runs are alive on
other hosts. These hosts record the claims again, or end the runs before their leases are over. The
database holds the trusted history, and refuses claims while its own history is another one. The
first host that has seen the new history for longer than any lease makes it the trusted one.

No clock of another host is compared. All times are seconds of `times.boot_s`.
"""

from typing import NamedTuple

from queued.core import times
from queued.core.lease import Lease, Renewal
from queued.service.log import Log
from queued.store.ledger import Ledger

_WAITS = "none: no host claims jobs meanwhile, because the server may lack claims of live runs"
_GOES_ON = "none: the jobs go on"


class _Seen(NamedTuple):
    """The history and number of a renewal, and when the quarantine ends (None: there is none)."""

    history: str
    beat: int
    over_s: float | None

    def precedes(self, later: "_Seen | Renewal") -> bool:
        """Returns whether the database of the `later` renewal has all commits up to this one."""
        return self.history == later.history and self.beat < later.beat


class Quarantine:
    """Compares the history of each renewal with the trusted one."""

    def __init__(self, ledger: Ledger, log: Log) -> None:
        self._ledger = ledger
        self._log = log
        self._seen: _Seen | None = None  # by the last renewal that was committed
        self._next: _Seen | None = None  # by a renewal that is not committed yet

    @property
    def over_s(self) -> float | None:
        """The end of the quarantine; None if jobs may be claimed."""
        last = self._next or self._seen
        return None if last is None else last.over_s

    def is_usual(self, renewal: Renewal) -> bool:
        """Returns whether `observe` would neither begin nor end a quarantine, nor find a loss."""
        trusted = renewal.history == renewal.trusted and self.over_s is None
        return trusted and self._seen is not None and self._seen.precedes(renewal)

    def observe(self, renewal: Renewal, *, lossless: bool) -> bool:
        """Begins or ends a quarantine, in the transaction of a renewal.

        `lossless`: a standby that is promoted lacks no commit. Returns whether the database may
        lack commits of this instance.
        """
        seen = self._seen
        missing = seen is not None and not seen.precedes(renewal)
        over_s = None
        if seen is not None and missing and seen.history == renewal.history:
            # The server was set back to an earlier state, such as a snapshot of its disk.
            renewal = renewal._replace(trusted="")
            self._ledger.trust_history("")
        if renewal.history != renewal.trusted:
            over_s = None if missing or seen is None else seen.over_s
            over_s = over_s or times.boot_s() + Lease(renewal.longest_s).takeover_s
            if times.boot_s() >= over_s or (lossless and _same_server(renewal)):
                self._ledger.trust_history(renewal.history)
                over_s = None
        self._next = _Seen(renewal.history, renewal.beat, over_s)
        return missing

    def on_rollback(self) -> None:
        """Forgets the last renewal, which was not committed."""
        self._next = None

    def on_committed(self) -> None:
        """Logs what the last renewal has begun or ended."""
        before, now = self._seen, self._next
        if now is None:
            return
        self._seen, self._next = now, None
        over_before_s = None if before is None else before.over_s
        missing = before is not None and not before.precedes(now)
        if missing or now.over_s not in {None, over_before_s}:
            left_s = 0 if now.over_s is None else now.over_s - times.boot_s()
            self._log.warning(
                "database.failed_over",
                history=now.history,
                quarantine_s=round(left_s),
                action=_WAITS if left_s else _GOES_ON,
            )
        elif over_before_s is not None and now.over_s is None:
            self._log.info("database.trusted", history=now.history)


def _same_server(renewal: Renewal) -> bool:
    return renewal.history.partition("/")[0] == renewal.trusted.partition("/")[0]
