"""Notices that the wall clock was set, by comparing it with the time since boot.

A retry waits a delay from its failure on, so it moves along with the clock; a time that a user
gave stays what it is. The database remembers how far the two clocks were apart, so that several
instances on one database move each retry once, also for a jump while none of them ran.
"""

from queued.core import times
from queued.service.log import Log
from queued.store.protocols import Ledger

_TOLERANCE_MS = 1000


class ClockShift:
    """The distance between the wall clock and the time since boot, as this process saw it last."""

    def __init__(self, ledger: Ledger, log: Log) -> None:
        self._ledger = ledger
        self._log = log
        self._offset_ms: int | None = None
        self._shift_ms = 0  # made in the transaction that is open

    def check(self) -> bool:
        """Moves retries along if the clock was set since the last call; returns whether it was.

        Inside a transaction.
        """
        offset_ms = times.boot_offset_ms()
        if self._offset_ms is not None and abs(offset_ms - self._offset_ms) <= _TOLERANCE_MS:
            return False
        self._shift_ms = self._ledger.shift_clock(
            boot_id=times.boot_id(), offset_ms=offset_ms, tolerance_ms=_TOLERANCE_MS
        )
        self._offset_ms = offset_ms
        return bool(self._shift_ms)

    def on_committed(self) -> None:
        """The transaction of the last check was committed."""
        if self._shift_ms:
            self._log.warning(
                "clock.shifted", by_ms=self._shift_ms, action="waiting retries moved along"
            )
            self._shift_ms = 0

    def on_refused(self) -> None:
        """The transaction of the last check was rolled back, and the shift with it."""
        self._offset_ms, self._shift_ms = None, 0
