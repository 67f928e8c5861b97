"""Numbers about all runs in a SQLite database; see `store.numbers`."""

import os
from collections.abc import Sequence

from queued.core.run_counts import RunCounts
from queued.core.settlement import Settlement
from queued.store.numbers import Numbers, Sizes
from queued.store.run_periods import RunPeriods
from queued.store.sqlite.connection import Database, wal_bytes


def numbers(database: Database) -> Numbers:
    """Returns the numbers for queuectl."""

    def sizes() -> Sizes:
        with database.named_errors():
            return Sizes(os.stat(database.path).st_size, wal_bytes(database.path))

    return Numbers(database, database.reading, sizes)


class RunCounters:
    """Adds recorded runs to the numbers. Must run inside the transaction that records them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._periods = RunPeriods(database, ("fold_minute", "forget_minute"))

    def add(self, instance: str, ended: Sequence[Settlement], now_ms: int) -> None:
        """Adds runs to the totals of an instance, and to the minutes of their ends."""
        if not ended:
            return
        counts = RunCounts(ended, now_ms)
        self._database.run_each("add_runs", counts.totals(instance))
        self._database.run_each("add_to_minutes", counts.minutes())
        self._periods.tidy(now_ms)
