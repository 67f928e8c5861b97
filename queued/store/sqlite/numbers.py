"""Numbers about all runs, over SQLite."""

import os
from collections.abc import Iterator

from queued.core.run_stats import EndedRun
from queued.core.run_totals import RunTotal
from queued.store.numbers import PAGE, Sizes
from queued.store.sqlite.connection import Database, wal_bytes


class SqliteNumbers:
    """The `Numbers` of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_totals(self) -> list[RunTotal]:
        """See `Numbers.run_totals`."""
        with self._database.reading():
            return [RunTotal(*row) for row in self._database.rows("run_totals")]

    def ended_runs(self, *, since_ms: int) -> Iterator[EndedRun]:
        """See `Numbers.ended_runs`."""
        after = (since_ms, 0, 0)
        while True:
            values = dict(zip(("after_ended", "after_job", "after_number"), after, strict=True))
            with self._database.reading():
                page = self._database.rows("ended_runs", **values, limit=PAGE)
            yield from map(EndedRun._make, page)
            if len(page) < PAGE:
                return
            after = page[-1][:3]

    def sizes(self) -> Sizes:
        """See `Numbers.sizes`."""
        path = self._database.path
        with self._database.named_errors():
            return Sizes(os.stat(path).st_size, wal_bytes(path))
