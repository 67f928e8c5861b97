"""Reports the state of the service to systemd: ready, reloading, stopping, the status line."""

from collections.abc import Sequence

from queued.service.ipc.messages import Load
from queued.service.supervisor.children import Child
from queued.service.supervisor.sd_notify import SdNotify
from queued.service.supervisor.stage import Stage

_EXTEND_S = 20.0
_EXTEND_INTERVAL_S = 5.0


class StatusReporter:
    """Reports each change once; only the request for more time is repeated."""

    def __init__(self, notify: SdNotify) -> None:
        self.load = Load(busy=[], waiting=0)
        self.announced = False
        self._notify = notify
        self._extend_s = 0.0

    def ready(self) -> None:
        """Reports that jobs are run."""
        self.announced = True
        self._notify.ready()

    def reloading(self) -> None:
        """Reports that a reload has begun."""
        if self.announced:
            self._notify.reloading()

    def reloaded(self) -> None:
        """Reports that all reloads have ended."""
        if self.announced:
            self._notify.ready()

    def stopping(self) -> None:
        """Reports that the shutdown has begun."""
        self._notify.stopping()

    def healthy(self) -> None:
        """Reports that the supervisor's loop runs and all children have answered."""
        self._notify.watchdog()

    def status(self, line: str) -> None:
        """Sends the status line, if it has changed."""
        self._notify.status(line)

    def line(self, stage: Stage, workers: int, undead: Sequence[Child] = ()) -> str:
        """Returns `4 workers, 2 busy, 17 waiting`; during a shutdown the stage comes first.

        `undead`: children that were killed, and that the kernel does not let die.
        """
        noun = "worker" if workers == 1 else "workers"
        line = f"{workers} {noun}, {len(self.load.busy)} busy, {self.load.waiting} waiting"
        if stage is not Stage.RUNNING:
            line = f"{stage.name.lower()}: {line}"
        elif not self.announced:
            line = "starting"
        if undead:
            names = ", ".join(f"{child.name} (PID {child.pid})" for child in undead)
            line += f"; killed, but not dead: {names}"
        if any(child.role == "dispatcher" for child in undead):
            line += "; no job starts"
        return line

    def extend(self, now_s: float) -> None:
        """Asks for more time to stop, at most every few seconds; call it while commands run."""
        if now_s >= self._extend_s:
            self._extend_s = now_s + _EXTEND_INTERVAL_S
            self._notify.extend(_EXTEND_S)

    def flush(self, now_s: float) -> float | None:
        """Sends what waits; returns when to try again, None if nothing waits."""
        return self._notify.flush(now_s)
