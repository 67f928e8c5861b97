"""The counts of jobs by label, and the differences that are not added to them yet."""

from queued.core.model import Label
from queued.store import rows
from queued.store.postgres.connection import Database

_INTERVAL_MS = 1000  # between two folds
_LIMIT = 10_000  # differences that one statement adds to the counts
# A fold begins after the last difference of the one before. Each 60th begins at the first, because
# transactions do not commit in the order of the numbers of their differences.
_FULL_EVERY = 60


class Counts:
    """Reads the counts; adds differences to them. All must run inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._folds, self._folded_ms, self._first_delta = 0, 0, 0

    def by_label(self) -> dict[Label, int]:
        """See `Ledger.counts`."""
        return rows.counts(self._database.rows("counts"))

    def fold(self, now_ms: int) -> None:
        """Adds differences to the counts, once a second."""
        if 0 <= now_ms - self._folded_ms < _INTERVAL_MS:
            return
        first = 0 if self._folds % _FULL_EVERY == 0 else self._first_delta
        last: int | None = self._database.value("fold", first=first, limit=_LIMIT)
        self._folds, self._folded_ms = self._folds + 1, now_ms
        if last is not None:
            self._first_delta = last + 1
