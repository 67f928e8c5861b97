"""Finds the jobs of a filter in a SQLite database; see `store.selecting`."""

from collections.abc import Iterator, Sequence

from queued.core.records import JobFilter
from queued.store import selecting
from queued.store.selecting import ALL, Row, Span, Values
from queued.store.sqlite.connection import Database


class Selection:
    """Reads the jobs of a filter from one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def matching(self, verb: str, wanted: JobFilter, span: Span = ALL) -> Iterator[Row]:
        """Yields rows of the statements whose names begin with `verb`; see `selecting.matching`."""
        return selecting.matching(self._page, verb, wanted, span)

    def _page(self, name: str, values: Values) -> list[Row]:
        with self._database.named_errors():
            return self._database.rows(name, **_bound(values))

    def still(self, jobs: Sequence[int], wanted: JobFilter) -> list[int]:
        """Returns those of the jobs that match now. Must run inside a transaction."""
        given = f"[{','.join(map(str, jobs))}]"
        found = [
            row[0]
            for values in selecting.each_label(wanted).values()
            for row in self._database.rows("still", jobs=given, **_bound(values))
        ]
        return sorted(found)


def _bound(values: Values) -> Values:
    """Returns the values of a filter as SQLite takes them."""
    bound = dict(values)
    if bound["command"] is not None:
        bound["command"] = bound["command"].replace("[", "[[]")  # begins no set of characters
    for name in ("queues", "not_queues", "outcomes"):
        if bound[name] is not None:
            import json

            bound[name] = json.dumps(bound[name])
    return bound
