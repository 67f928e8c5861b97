"""Keeps the table of the runs of each minute and hour small, over the statements of any engine."""

from collections.abc import Sequence

from queued.core.run_periods import HOUR_MS, HOURS_KEPT_MS, MINUTE_MS, MINUTES_KEPT_MS
from queued.store.statements import Statements


class RunPeriods:
    """Adds old minutes to their hours, and forgets old hours. Must run inside a transaction."""

    def __init__(self, database: Statements, fold: Sequence[str]) -> None:
        """`fold`: the statements that move a minute into its hour."""
        self._database = database
        self._fold = fold
        self._tidied_ms = 0

    def tidy(self, now_ms: int) -> None:
        """Folds the oldest minute and forgets the oldest hour, if they are old enough.

        After a step that found nothing to do it rests for a minute. If the transaction fails, a
        later step does the same.
        """
        if 0 <= now_ms - self._tidied_ms < MINUTE_MS:
            return
        minute = self._oldest(MINUTE_MS, now_ms - MINUTES_KEPT_MS)
        if minute is not None:
            for statement in self._fold:
                self._database.run(statement, begins_at=minute)
        hour = self._oldest(HOUR_MS, now_ms - HOURS_KEPT_MS)
        if hour is not None:
            self._database.run("forget_hour", begins_at=hour)
        if minute is None and hour is None:
            self._tidied_ms = now_ms

    def _oldest(self, length_ms: int, before_ms: int) -> int | None:
        """Returns the begin of the oldest period, if it has ended before a time."""
        row = self._database.row("oldest_period", length_ms=length_ms)
        begins_at: int | None = row[0] if row else None
        return begins_at if begins_at is not None and begins_at + length_ms <= before_ms else None
