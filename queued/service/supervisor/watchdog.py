"""Whether the children answer: each is asked now and then, and one that hangs is found in time.

The question is a signal, the answer a time on the board, so that it needs nothing that could be
what hangs. Nobody is asked where no watchdog wants to know: an idle service stays asleep.
"""

from collections.abc import Callable
from typing import NamedTuple

from queued.service.supervisor.children import Child

_PARTS = 6  # of the watchdog's limit: so often is asked
_SILENT = 2  # questions without an answer, until a child counts as hung

AnsweredS = Callable[[int], float]  # when the child in a slot has answered last


class Finding(NamedTuple):
    """What a look has found: who hangs, and who is to be asked next."""

    hung: list[Child]
    to_ask: list[Child]
    well: bool  # all have answered the last question


class Watchdog:
    """Judges by answers only, never by time alone: a machine that slept is no hang."""

    def __init__(self, limit_s: float | None, answered_s: AnsweredS) -> None:
        self._interval_s = None if limit_s is None else limit_s / _PARTS
        self._answered_s = answered_s
        self._asked_s: dict[int, float] = {}  # by pid: the first question without an answer
        self._silent: dict[int, int] = {}
        self.next_s = None if limit_s is None else 0.0

    def due(self, now_s: float) -> bool:
        """Whether it is time to look and to ask."""
        return self.next_s is not None and now_s >= self.next_s

    def look(self, living: list[Child], now_s: float) -> Finding:
        """Who has answered since the last look. Ask `to_ask` now."""
        self.next_s = now_s + (self._interval_s or 0.0)
        silent = {child.pid: self._count(child) for child in living}
        self._asked_s = {
            pid: self._asked_s[pid] if count else now_s for pid, count in silent.items()
        }
        self._silent = silent
        hung = [child for child in living if silent[child.pid] >= _SILENT]
        to_ask = [child for child in living if child not in hung]
        return Finding(hung, to_ask, well=not any(silent.values()))

    def _count(self, child: Child) -> int:
        asked_s = self._asked_s.get(child.pid)
        if asked_s is None or self._answered_s(child.slot) >= asked_s:
            return 0
        return self._silent[child.pid] + 1
