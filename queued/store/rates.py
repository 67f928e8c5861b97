"""Counts the starts of queues with a rate, by the same steps on every engine."""

import json
from collections.abc import Iterable, Mapping

from queued.core.records import StartWindow
from queued.store.statements import Statements, texts


class Rates:
    """The starts that a database remembers; inside a transaction, if they are changed."""

    def __init__(self, database: Statements) -> None:
        self._database = database

    def windows(self, queues: Iterable[str], now_ms: int) -> dict[str, StartWindow]:
        """Returns what the rates of these queues allow now; leaves out queues without a rate."""
        return {name: window for name, (window, _) in self._read(queues, now_ms).items()}

    def full(self, queues: Iterable[str], now_ms: int) -> dict[str, StartWindow]:
        """Returns the windows of those of the queues whose rates allow no start now.

        If a start lies in the future, because the clock was set back, it counts as made now.
        """
        found = self._read(queues, now_ms)
        if ahead := [name for name, (_, is_ahead) in found.items() if is_ahead]:
            self._database.run("bring_back_starts", queues=json.dumps(ahead), now=now_ms)
            found = self._read(found, now_ms)
        return {name: one for name, (one, _) in found.items() if one.next_ms is not None}

    def add(self, started: Mapping[str, int], now_ms: int) -> None:
        """Counts starts of queues, and forgets those that no window has any more."""
        if started:
            values = {"started": json.dumps(started), "now": now_ms}
            self._database.run("add_starts", **values)
            self._database.run("forget_starts", **values)

    def _read(self, queues: Iterable[str], now_ms: int) -> dict[str, tuple[StartWindow, bool]]:
        names = json.dumps([*queues])
        rows = self._database.rows("start_windows", queues=names, now=now_ms)
        return {
            name: (StartWindow(left, next_ms, bool(waiting)), bool(ahead))
            for name, left, next_ms, waiting, ahead in (texts(row, "replace") for row in rows)
        }
