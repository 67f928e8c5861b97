"""Finds the jobs of a filter in a PostgreSQL database; see `store.selecting`."""

import re
from collections.abc import Iterator, Sequence

from queued.core.records import JobFilter
from queued.store import selecting
from queued.store.postgres.connection import Database, Row
from queued.store.selecting import ALL, Span, Values

_LIKE = {"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"}


class Selection:
    """Reads the jobs of a filter from one queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def matching(self, verb: str, wanted: JobFilter, span: Span = ALL) -> Iterator[Row]:
        """Yields rows of the statements whose names begin with `verb`; see `selecting.matching`."""
        return selecting.matching(self._page, verb, wanted, span)

    def _page(self, name: str, values: Values) -> list[Row]:
        with self._database.reading():
            return self._database.rows(name, **_bound(values))

    def still(self, jobs: Sequence[int], wanted: JobFilter) -> list[int]:
        """Returns those of the jobs that match now, and locks them. Must run in a transaction."""
        labels = selecting.each_label(wanted).values()
        if len(labels) > 1:
            self._database.run("lock_jobs", jobs=[*jobs])
        return [
            row[0]
            for values in labels
            for row in self._database.rows("still", jobs=[*jobs], **_bound(values))
        ]


def _bound(values: Values) -> Values:
    """Returns the values of a filter as PostgreSQL takes them."""
    if values["command"] is None:
        return values
    like = re.sub(r"[*?%_\\]", lambda found: _LIKE[found[0]], values["command"])
    return {**values, "command": like}
