"""How many workers are used at once while jobs are over in no time and more of them wait.

Where the processors have no rest, more commands at once end no job sooner: each waits for a
processor, and finds its caches used by all the others. A few workers for each processor do the same
work with less. Whether they do is tried on what the jobs are at the moment: everybody works, then
a few, then everybody; if the few end as many, or nearly, they go on for a while. Commands that
sleep need all.
"""

from collections.abc import Iterable

from queued.core import times
from queued.service.dispatcher.claims import ClaimTable
from queued.service.log import Log

_PER_PROCESSOR = 2
_SURE_S = 0.1  # so long jobs must have waited before anything is tried
_FEW_S, _ALL_S, _OVER_S = 0.15, 0.45, 0.6  # when a trial comes to a few, to all again, to its end
_SETTLE_S = 0.07  # after a change, until all that was handed out before has ended and is told
_AS_MANY = 0.95  # of what all end: a trial is short, and its counts are off by a tenth at times
_SILENT_S = 0.1  # without a turn: a few end something all the time, or are no few to rely on
_GO_ON_S = 5.0  # a few, until everybody is tried again
_SHIFT_S = 0.2  # until one of them is relieved by another, so that none rests for long
_AGAIN_S, _AGAIN_MAX_S = 5.0, 80.0  # everybody, until a few are tried again: at first, and at most


class Trial:
    """Everybody, a few, everybody again, and how many jobs ended in as much time of each."""

    def __init__(self, start_s: float) -> None:
        self.by_few = self.by_all = 0
        self._start_s = start_s

    def few(self, now_s: float) -> bool:
        """Whether only a few are to work now."""
        return _FEW_S <= now_s - self._start_s < _ALL_S

    def over(self, now_s: float) -> bool:
        """Whether all that counts is told."""
        return now_s - self._start_s >= _OVER_S + _SETTLE_S

    def count(self, ended_s: float) -> None:
        """A job ended then."""
        at_s = ended_s - self._start_s
        if _FEW_S + _SETTLE_S <= at_s < _ALL_S:
            self.by_few += 1
        elif 0 <= at_s < _FEW_S or _ALL_S + _SETTLE_S <= at_s < _OVER_S:
            self.by_all += 1


class Breadth:
    """Chooses who may be handed jobs."""

    def __init__(self, processors: int, log: Log) -> None:
        self._most = processors * _PER_PROCESSOR
        self._log = log
        self._trial: Trial | None = None
        self._few = False
        self._first = 0  # of the few
        self._shift_s = 0.0  # when it is relieved
        self._next_s = 0.0  # when the next trial is due; 0 before the first turn
        self._again_s = _AGAIN_S
        self._last_s = 0.0  # when there was a turn

    @property
    def until_s(self) -> float:
        """When a turn is due if none is made before: then the few are stuck."""
        return self._last_s + _SILENT_S if self._few else times.NEVER_S

    def chosen(self, present: list[int], claims: ClaimTable, now_s: float) -> list[int]:
        """Those who are not spared: only who is quick may be, and nobody while many are not."""
        if not self._few or len(present) <= self._most:
            return present
        quick = [worker for worker in present if claims.quick(worker, now_s)]
        if len(present) - len(quick) >= self._most // 2:
            return present
        count = 1 + max(present)
        quick.sort(key=lambda worker: (worker - self._first) % count)
        detached = set(quick[self._most :])
        return [worker for worker in present if worker not in detached]

    def made(self, ages_s: Iterable[float], present: int, now_s: float, *, dry: bool) -> None:
        """A turn was made: how long ago the runs ended that it recorded, and who is there.

        `dry`: no job was left for somebody who had room for one.
        """
        silent, self._last_s = now_s >= self.until_s, now_s
        if dry or silent or present <= self._most or not self._next_s:
            self._rest(now_s)
        elif self._trial is not None:
            for age_s in ages_s:
                self._trial.count(now_s - age_s)
            self._few = self._trial.few(now_s)
            if self._trial.over(now_s):
                self._decide(self._trial, now_s)
        elif now_s >= self._next_s:
            self._trial, self._few = Trial(now_s), False
        elif now_s >= self._shift_s:
            self._first, self._shift_s = self._first + 1, now_s + _SHIFT_S

    def _rest(self, now_s: float) -> None:
        """Whoever is there may be used. A few who were chosen must be tried again."""
        next_s = 0.0 if self._few else self._next_s
        self._next_s = max(next_s, now_s + _SURE_S)
        self._trial, self._few = None, False

    def _decide(self, trial: Trial, now_s: float) -> None:
        self._trial, self._few = None, trial.by_few >= _AS_MANY * trial.by_all > 0
        if self._few:
            self._next_s, self._again_s = now_s + _GO_ON_S, _AGAIN_S
        else:
            self._next_s = now_s + self._again_s
            self._again_s = min(2 * self._again_s, _AGAIN_MAX_S)
        ended = {"ended_by_few": trial.by_few, "ended_by_all": trial.by_all}
        self._log.debug("worker.few_tried", few_go_on=self._few, **ended)
