"""Ends the run of a worker before the lease of its instance is over.

Other hosts take over the jobs then. The worker has a timer of its own, so that this does not depend
on a dispatcher that may hang, or on a network that may be down.
"""

from collections.abc import Callable

from queued.core import times
from queued.core.lease import Lease
from queued.core.model import Outcome
from queued.service.ipc.messages import Run
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.timers import BootTimer
from queued.service.worker.execution import Execution

_ERROR = "the service could not reach its database, and its lease ended"


class LeaseEnd:
    """Terminates and kills runs at the times of the lease, which the dispatcher renews.

    Does nothing if the instance has no lease. `current` returns the run of the worker.
    """

    def __init__(
        self, scoreboard: Scoreboard, loop: EventLoop, current: Callable[[], Execution | None]
    ) -> None:
        self._scoreboard = scoreboard
        self._loop = loop
        self._current = current
        self._lease: Lease | None = None  # is recorded before the first run
        self._timer: BootTimer | None = None
        self._is_set = False

    def forbids(self, run: Run) -> bool:
        """Returns whether it is too late to begin the run; if not, sets the timer for its end."""
        lease = self._lease = self._lease or self._scoreboard.lease
        if lease is None:
            return False
        at_s = self._term_at_s(lease, run)
        if times.boot_s() >= at_s:
            return True
        if not self._is_set:
            self._set_timer(at_s)
        return False

    def _advance(self) -> None:
        """Ends the run if the lease was not renewed in time."""
        lease, execution = self._lease, self._current()
        if lease is None or execution is None:
            self._set_timer(times.NEVER_S)
            return
        boot_s, now_s = times.boot_s(), times.monotonic_s()
        kill_at_s = self._scoreboard.renewed_s + lease.kill_s
        at_s = self._term_at_s(lease, execution.run)
        if boot_s >= at_s:
            execution.stop(Outcome.INTERRUPTED, now_s, error=_ERROR)
            at_s = kill_at_s
        if boot_s >= kill_at_s:
            execution.end_grace(now_s)
            at_s = times.NEVER_S
        self._set_timer(at_s)

    def _term_at_s(self, lease: Lease, run: Run) -> float:
        return self._scoreboard.renewed_s + lease.term_s(run.kill_grace_s)

    def _set_timer(self, at_s: float) -> None:
        if self._timer is None:
            self._timer = BootTimer()
            self._loop.add(self._timer.fileno(), self._advance)
        self._is_set = at_s < times.NEVER_S
        self._timer.set(at_s)
