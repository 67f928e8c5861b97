"""Ends a service that has done what its flags `--drain` and `--max-jobs` ask for.

A job that the service may not claim now does not keep it alive: one that waits for its time or for
a retry, unless `--due-within` includes that, requires labels that the service lacks, or is run by
another service.
"""

from queued.core import times
from queued.core.model import State
from queued.core.serve_until import ServeUntil
from queued.service.dispatcher.turn_results import Turn
from queued.service.ipc.channel import Channel
from queued.service.ipc.messages import StopRequested
from queued.service.ipc.scoreboard import Scoreboard


class EndCondition:
    """Counts the runs that have ended, and dead jobs; the counts outlive the dispatcher."""

    def __init__(self, until: ServeUntil, scoreboard: Scoreboard, supervisor: Channel) -> None:
        self._until = until
        self._scoreboard = scoreboard
        self._supervisor = supervisor

    @property
    def drains(self) -> bool:
        """Returns whether the service ends when nothing is due."""
        return self._until.drained

    def due_by_ms(self, now_ms: int) -> int | None:
        """Returns until when jobs that become due are waited for; None if for none."""
        if self._until.due_by_s is None:
            return None
        return now_ms + round(1000 * (self._until.due_by_s - times.monotonic_s()))

    def within(self, turn: Turn, workers: list[int]) -> list[int]:
        """Returns as many of the workers as may get another run."""
        if self._until.max_jobs is None:
            return workers
        ended = self._scoreboard.ended_runs + turn.ended_runs()
        return workers[: max(0, self._until.max_jobs - ended - len(list(turn.claims)))]

    def on_committed(self, turn: Turn) -> None:
        """Counts what a turn has ended. Call it first: a death before it loses the counts."""
        if self._until.max_jobs is not None:
            self._scoreboard.record_ended_runs(turn.ended_runs())
        self.count_dead(turn)

    def ends_after(self, turn: Turn, *, looked: bool) -> bool:
        """Returns whether the service ends after this turn, and tells the supervisor if it does.

        `looked`: the turn has looked for jobs for idle workers, and nothing has changed since.
        """
        cause = None if any(turn.claims) else self._cause(looked=looked)
        if cause is not None:
            self._supervisor.send(StopRequested(done=cause))
        return cause is not None

    def count_dead(self, turn: Turn) -> None:
        """Counts the jobs that a committed turn has found dead, also of an instance before."""
        if self._until.strict:
            dead = sum(run.state is State.DEAD for run in turn.finished)
            self._scoreboard.record_dead_jobs(dead)

    def _cause(self, *, looked: bool) -> str | None:
        most = self._until.max_jobs
        if most is not None and self._scoreboard.ended_runs >= most:
            return f"{most} runs have ended"
        return "nothing is due" if self._until.drained and looked else None
