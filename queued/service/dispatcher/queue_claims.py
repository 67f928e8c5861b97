"""Claims jobs of many queues: each claim asks only the queues whose turn it is.

The cost of a claim depends on the number of jobs that it takes, not on the number of queues.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from queued.core import times
from queued.core.fair_share import FairShare, Policy
from queued.core.records import Share, StartWindow
from queued.core.runs import Claim
from queued.store.ledger import Ledger

_FEW_LANES = 16  # of which each claim may ask all
_SEARCH_INTERVAL_S = 0.25  # between searches for ready jobs while those known keep all workers busy


class OpenQueues(NamedTuple):
    """The queues of which an instance may claim jobs: the lanes of each, its policy, its limit."""

    lanes: dict[str, tuple[int, ...]]
    policies: dict[str, Policy]
    limits: dict[str, int]  # of running jobs, of the queues that have one
    rated: frozenset[str] = frozenset()  # the queues that have a rate


NO_QUEUES = OpenQueues({}, {}, {})


class QueueClaims:
    """Claims jobs for one instance, and remembers between turns which queues have ready jobs."""

    def __init__(self, ledger: Ledger, instance: str) -> None:
        self._ledger = ledger
        self._instance = instance
        self._share = FairShare()
        self._open = NO_QUEUES
        self._search_s = 0.0  # when the queues with ready jobs must be searched again
        self._searched = False  # in this call of `claim`
        # The queues whose rates allow no start, if the last call of `claim` has left workers idle.
        self.full: dict[str, StartWindow] = {}

    def on_ended(self, queue: str) -> None:
        """Notes that a run has ended, so that its queue may have a free place."""
        if queue in self._open.limits:
            self._share.add(queue, self._open.policies[queue])

    def claim(
        self, opened: OpenQueues, workers: Sequence[int], idle: int, token: int, *, now_ms: int
    ) -> list[Claim]:
        """Claims at most one job for each of `workers`, with tokens from `token` on.

        The first `idle` workers have no job. The others prefetch; they get no job of a queue with a
        limit or a rate, nor of a key with a rate: it would take a place that another worker could
        use, and start too late.
        """
        self._searched = False
        if opened is not self._open or times.monotonic_s() >= self._search_s:
            self._open = opened
            self._search(now_ms)
        first = workers[:idle] if opened.limits or opened.rated else workers
        claims = self._claim(first, token, now_ms, idle=idle)
        if len(first) < len(workers):
            rest, token = workers[idle:], token + len(claims)
            claims += self._claim(rest, token, now_ms, idle=0, unlimited_only=True)
        idle_left = len(claims) < len(workers) and opened.rated
        self.full = self._full_rates(now_ms) if idle_left else {}
        self._ledger.set_hungry(self._instance, hungry=len(claims) < len(workers))
        return claims

    def _claim(
        self,
        workers: Sequence[int],
        token: int,
        now_ms: int,
        *,
        idle: int,
        unlimited_only: bool = False,
    ) -> list[Claim]:
        claims: list[Claim] = []
        while len(claims) < len(workers):
            left = workers[len(claims) :]
            picked = self._share.pick(len(left), unlimited_only=unlimited_only)
            if not picked and self._searched:
                break
            if not picked:
                self._search(now_ms)
                continue
            shares = [
                Share(name, self._open.lanes[name], count, self._open.policies[name].limited)
                for name, count in picked.items()
            ]
            found = self._ledger.claim(
                self._instance,
                left,
                token + len(claims),
                now_ms=now_ms,
                shares=shares,
                idle=max(0, idle - len(claims)),
            )
            started = Counter(claim.queue for claim in found)
            for name, count in picked.items():
                self._share.charge(name, count, started[name])
            claims += found
        return claims

    def _full_rates(self, now_ms: int) -> dict[str, StartWindow]:
        """Returns the windows of full queues; jobs that this instance may not claim do not wait."""
        full, lanes = self._ledger.queues.full_rates(self._open.rated, now_ms), self._open.lanes
        if any(window.waiting for window in full.values()):
            ready = set(self._ledger.queues.ready_lanes())
            for name, window in full.items():
                waiting = window.waiting and not ready.isdisjoint(lanes[name])
                full[name] = window._replace(waiting=waiting)
        return full

    def _search(self, now_ms: int) -> None:
        """Finds the queues that may have ready jobs, without those that may start none now."""
        self._searched = True
        lanes, self._search_s = self._open.lanes, 0.0
        names = set(lanes)
        if sum(map(len, lanes.values())) > _FEW_LANES:
            self._search_s = times.monotonic_s() + _SEARCH_INTERVAL_S
            ready = set(self._ledger.queues.ready_lanes())
            names = {name for name in names if not ready.isdisjoint(lanes[name])}
        if limited := names & self._open.limits.keys():
            used = self._ledger.queues.used_places()
            names -= {n for n in limited if used.get(n, 0) >= self._open.limits[n]}
        if rated := names & self._open.rated:
            names -= self._ledger.queues.full_rates(rated, now_ms).keys()
        self._share.restart({name: self._open.policies[name] for name in sorted(names)})
