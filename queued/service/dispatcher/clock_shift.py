"""Detects that the wall clock was set, by comparing it with the time since boot.

The time of a retry is shifted with the clock, because it is a delay after a failure; a start time
that a user gave is not. The database stores the last offset between the two clocks, so that of
several instances only one shifts the retries, also after a jump while none of them ran.
"""

from queued.core import times
from queued.service.log import Log
from queued.store.ledger import Ledger

_TOLERANCE_MS = 1000


class ClockShift:
    """The offset between the wall clock and the time since boot, when it was last checked."""

    def __init__(self, ledger: Ledger, log: Log) -> None:
        self._ledger = ledger
        self._log = log
        self._offset_ms: int | None = None
        self._shift_ms = 0  # by the open transaction

    def shift_if_set(self) -> bool:
        """Shifts the retries if the clock was set since the last call; returns whether it did.

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
        """Logs the shift: the transaction of the last check was committed."""
        if self._shift_ms:
            self._log.warning(
                "clock.shifted",
                by_ms=self._shift_ms,
                action="the due times of retries were moved as well",
            )
            self._shift_ms = 0

    def on_rollback(self) -> None:
        """Forgets the last check, whose transaction was rolled back."""
        self._offset_ms, self._shift_ms = None, 0
