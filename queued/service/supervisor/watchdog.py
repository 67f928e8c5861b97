"""Decides which children hang: each is pinged at intervals, and must answer.

The ping is a signal and the answer a time on the scoreboard, so that neither needs a channel or a
database that may itself hang. Without a watchdog of systemd, children are pinged only while jobs
run, so that an idle service sleeps.
"""

from collections.abc import Callable
from typing import NamedTuple

from queued.service.supervisor.children import Child

_PINGS = 6  # in the watchdog's limit
_OWN_LIMIT_S = 60.0  # without a watchdog of systemd
_UNANSWERED = 2  # pings in a row, after which a child counts as hung

AnsweredS = Callable[[int], float]  # when the child in a slot answered last


class Finding(NamedTuple):
    """The result of a check: the children that hang, and those that must be pinged now."""

    hung: list[Child]
    to_ping: list[Child]
    healthy: bool  # all children have answered the last ping


class Watchdog:
    """Counts unanswered pings, never only time: a machine that slept is no hang."""

    def __init__(self, limit_s: float | None, answered_s: AnsweredS) -> None:
        """`limit_s`: the limit of systemd's watchdog; None without one."""
        self.configured = limit_s is not None
        self._interval_s = (limit_s or _OWN_LIMIT_S) / _PINGS
        self._answered_s = answered_s
        self._pinged_s: dict[int, float] = {}  # by pid: the first ping without an answer
        self._unanswered: dict[int, int] = {}  # pings, by pid
        self.next_s = 0.0 if self.configured else None

    def watch(self, now_s: float, *, jobs_run: bool) -> None:
        """Begins or ends the pings of a service without a watchdog of systemd."""
        if not self.configured and jobs_run is (self.next_s is None):
            self.next_s = now_s + self._interval_s if jobs_run else None
            self._pinged_s, self._unanswered = {}, {}

    def due(self, now_s: float) -> bool:
        """Returns whether it is time for the next check."""
        return self.next_s is not None and now_s >= self.next_s

    def check(self, living: list[Child], now_s: float) -> Finding:
        """Counts the answers to the last pings. The caller pings `to_ping` at once."""
        self.next_s = now_s + self._interval_s
        unanswered = {child.pid: self._count(child) for child in living}
        self._pinged_s = {
            pid: self._pinged_s[pid] if count else now_s for pid, count in unanswered.items()
        }
        self._unanswered = unanswered
        hung = [child for child in living if unanswered[child.pid] >= _UNANSWERED]
        to_ping = [child for child in living if child not in hung]
        return Finding(hung, to_ping, healthy=not any(unanswered.values()))

    def _count(self, child: Child) -> int:
        """Returns how many pings in a row the child has not answered."""
        pinged_s = self._pinged_s.get(child.pid)
        if pinged_s is None or self._answered_s(child.slot) >= pinged_s:
            return 0
        return self._unanswered[child.pid] + 1
