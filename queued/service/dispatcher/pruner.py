"""Removes ended jobs that are older than their retention, in at most a tenth of the time.

A pass examines the ended jobs of each state in small steps, each in the transaction of a turn. At
its end the time at which the next job will be old enough is known; the next pass begins then.
"""

import math
from typing import NamedTuple

from queued.core import times
from queued.core.model import State
from queued.core.settings_in_force import Settings
from queued.service.log import Log
from queued.store.ledger import Ledger

_STEP = 200  # jobs that a step examines
_REST = 9.0  # the pause after a step, in durations of that step
_INTERVAL_MS = 3_600_000  # between two passes; less if a retention is shorter than a day
_PAUSE_S = 600.0  # how long nothing is pruned after the clock was set


class Retention(NamedTuple):
    """How long jobs are kept after they have ended in a state."""

    state: State
    kept_ms: int


class PrunePass(NamedTuple):
    """The progress of a pass."""

    left: tuple[Retention, ...]  # the first is examined
    now_ms: int  # at the beginning
    after: int  # the last row that was examined
    removed: dict[State, int]
    next_ms: int  # when the next job will be old enough, as far as examined


class Pruner:
    """Prunes step by step: `prune_step` in a transaction, `on_committed` after its commit."""

    def __init__(self, ledger: Ledger, log: Log) -> None:
        self._ledger = ledger
        self._log = log
        self._retentions: tuple[Retention, ...] = ()
        self._pass: PrunePass | None = None
        self._stepped: PrunePass | None = None  # by the open transaction
        self._step_began_s = 0.0
        self._ended_ms = 0
        self._paused_until_s = -math.inf
        self.next_s = math.inf  # the next step of a pass
        self.next_ms: int | None = None  # the next pass

    def clock_was_set(self, now_s: float) -> None:
        """Pauses: the clock may be wrong, and removed jobs cannot be restored."""
        self._paused_until_s = now_s + _PAUSE_S

    def prune_step(self, settings: Settings, now_ms: int, *, enabled: bool) -> None:
        """Makes one step if one is due, inside a transaction; ends the pass unless `enabled`."""
        now_s = times.monotonic_s()
        if not enabled:
            self.stop()
        elif self.begin_if_due(settings, now_ms, now_s):
            self.step(now_s)

    def begin_if_due(self, settings: Settings, now_ms: int, now_s: float) -> bool:
        """Begins a pass if one is due; returns whether a step is due."""
        self._stepped, retentions = None, _retentions(settings)
        changed, self._retentions = retentions != self._retentions, retentions
        if not retentions:
            self.stop()
            return False
        if changed or (self._pass is None and not self._is_early(now_ms)):
            shortest = min(retention.kept_ms for retention in retentions)
            self._pass = PrunePass(retentions, now_ms, 0, {}, now_ms + shortest)
            self.next_s, self.next_ms = now_s, None
        self.next_s = max(self.next_s, self._paused_until_s)
        return now_s >= self.next_s

    def _is_early(self, now_ms: int) -> bool:
        """Returns whether it is before the next pass, unless the clock was set back."""
        return self.next_ms is not None and self._ended_ms <= now_ms < self.next_ms

    def stop(self) -> None:
        """Ends the pass, and schedules none."""
        self._stepped = self._pass = self.next_ms = None
        self.next_s = math.inf

    def step(self, now_s: float) -> None:
        """Removes those of the next `_STEP` jobs that are old enough. Inside a transaction."""
        progress = self._pass
        if progress is None:
            return
        (state, kept_ms), *others = progress.left
        found = self._ledger.prune(
            state, after=progress.after, before_ms=progress.now_ms - kept_ms, limit=_STEP
        )
        count = progress.removed.get(state, 0) + found.removed
        next_ms = math.inf if found.oldest_ms is None else found.oldest_ms + kept_ms + 1
        stepped = progress._replace(
            left=tuple(others) if found.done else progress.left,
            after=0 if found.done else found.after,
            removed={**progress.removed, state: count},
            next_ms=int(min(progress.next_ms, next_ms)),
        )
        self._stepped, self._step_began_s = stepped, now_s

    def on_committed(self, now_s: float) -> None:
        """Schedules the next step, or ends the pass. The last step was committed."""
        if self._stepped is None:
            return
        progress, self._stepped = self._stepped, None
        self._pass, self.next_s = progress, now_s + _REST * (now_s - self._step_began_s)
        if progress.left:
            return
        shortest_ms = min(retention.kept_ms for retention in self._retentions)
        apart_ms = max(1000, min(_INTERVAL_MS, shortest_ms // 24))
        self._pass, self._ended_ms, self.next_s = None, progress.now_ms, math.inf
        self.next_ms = max(progress.next_ms, progress.now_ms + apart_ms)
        if any(progress.removed.values()):
            self._log.info(
                "jobs.pruned", **{state.value: n for state, n in progress.removed.items()}
            )


def _retentions(settings: Settings) -> tuple[Retention, ...]:
    kept_s = {
        State.COMPLETED: settings.retention_completed,
        State.DEAD: settings.retention_dead,
        State.CANCELLED: settings.retention_cancelled,
    }
    return tuple(Retention(state, math.ceil(kept * 1000)) for state, kept in kept_s.items() if kept)
