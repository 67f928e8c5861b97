"""Removes ended jobs that are older than the settings keep them, in a tenth of the time at most.

A pass walks over the ended jobs of each state in small steps, each part of a turn's transaction.
At its end it knows when the next job will be old enough; the next pass begins then.
"""

import math
from typing import NamedTuple

from queued.core import times
from queued.core.model import State
from queued.core.settings import Settings
from queued.service.log import Log
from queued.store.protocols import Ledger

_STEP = 200  # jobs that a step examines
_REST = 9.0  # the pause after a step, in durations of that step
_INTERVAL_MS = 3_600_000  # between two passes; less if a retention is shorter than a day
_DISTRUST_S = 600.0  # how long nothing is pruned after the clock was set


class PrunePass(NamedTuple):
    """The progress of a pass: the states that are left, each with its retention, and the row."""

    left: tuple[tuple[State, int], ...]
    now_ms: int
    after: int
    removed: dict[State, int]
    next_ms: int


class Pruner:
    """Prunes step by step: `prune_step` in a transaction, `on_committed` after its commit."""

    def __init__(self, ledger: Ledger, log: Log) -> None:
        self._ledger = ledger
        self._log = log
        self._kept_ms: tuple[tuple[State, int], ...] = ()
        self._walk: PrunePass | None = None
        self._stepped: tuple[PrunePass, float] | None = None
        self._ended_ms = 0
        self._distrust_s = -math.inf
        self.next_s = math.inf  # the next step of a pass
        self.next_ms: int | None = None  # the next pass

    def clock_was_set(self, now_s: float) -> None:
        """Prunes nothing for a while: the clock may be set again, and jobs cannot be restored."""
        self._distrust_s = now_s + _DISTRUST_S

    def prune_step(self, settings: Settings, now_ms: int, *, going: bool) -> None:
        """Makes one step if one is due. The last part of a turn's transaction."""
        now_s = times.monotonic_s()
        if not going:
            self.stop()
        elif self.due(settings, now_ms, now_s):
            self.step(now_s)

    def due(self, settings: Settings, now_ms: int, now_s: float) -> bool:
        """Begins a pass if one is due; returns whether a step is due."""
        self._stepped, kept_ms = None, _kept_ms(settings)
        changed, self._kept_ms = kept_ms != self._kept_ms, kept_ms
        if not kept_ms:
            self.stop()
            return False
        if changed or (self._walk is None and not self._is_early(now_ms)):
            shortest = min(kept for _, kept in kept_ms)
            self._walk = PrunePass(kept_ms, now_ms, 0, {}, now_ms + shortest)
            self.next_s, self.next_ms = now_s, None
        self.next_s = max(self.next_s, self._distrust_s)
        return now_s >= self.next_s

    def _is_early(self, now_ms: int) -> bool:
        """Returns whether it is before the next pass, unless the clock was set back."""
        return self.next_ms is not None and self._ended_ms <= now_ms < self.next_ms

    def stop(self) -> None:
        """Ends the pass and plans no other."""
        self._stepped = self._walk = self.next_ms = None
        self.next_s = math.inf

    def step(self, now_s: float) -> None:
        """Removes the old ones of the next `_STEP` jobs. Inside a transaction."""
        walk = self._walk
        if walk is None:
            return
        (state, kept_ms), *others = walk.left
        found = self._ledger.prune(
            state, after=walk.after, before_ms=walk.now_ms - kept_ms, limit=_STEP
        )
        count = walk.removed.get(state, 0) + found.removed
        next_ms = math.inf if found.oldest_ms is None else found.oldest_ms + kept_ms + 1
        stepped = walk._replace(
            left=tuple(others) if found.done else walk.left,
            after=0 if found.done else found.after,
            removed={**walk.removed, state: count},
            next_ms=int(min(walk.next_ms, next_ms)),
        )
        self._stepped = (stepped, now_s)

    def on_committed(self, now_s: float) -> None:
        """The turn was committed: plans the next step, or ends the pass."""
        if self._stepped is None:
            return
        (walk, began_s), self._stepped = self._stepped, None
        self._walk, self.next_s = walk, now_s + _REST * (now_s - began_s)
        if walk.left:
            return
        shortest_ms = min(kept for _, kept in self._kept_ms)
        apart_ms = max(1000, min(_INTERVAL_MS, shortest_ms // 24))
        self._walk, self._ended_ms, self.next_s = None, walk.now_ms, math.inf
        self.next_ms = max(walk.next_ms, walk.now_ms + apart_ms)
        if any(walk.removed.values()):
            self._log.info("jobs.pruned", **{state.value: n for state, n in walk.removed.items()})


def _kept_ms(settings: Settings) -> tuple[tuple[State, int], ...]:
    kept_s = {
        State.COMPLETED: settings.retention_completed,
        State.DEAD: settings.retention_dead,
        State.CANCELLED: settings.retention_cancelled,
    }
    return tuple((state, math.ceil(kept * 1000)) for state, kept in kept_s.items() if kept)
