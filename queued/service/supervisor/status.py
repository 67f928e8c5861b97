"""Reports the state of the service to systemd: ready, reloading, stopping, the status line."""

from queued.service.ipc.messages import Load
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

    def status(self, stage: Stage, workers: int) -> None:
        """Sends the status line, if it has changed."""
        self._notify.status(self.line(stage, workers))

    def line(self, stage: Stage, workers: int) -> str:
        """Returns `4 workers, 2 busy, 17 waiting`; during a shutdown the stage comes first."""
        noun = "worker" if workers == 1 else "workers"
        counts = f"{workers} {noun}, {len(self.load.busy)} busy, {self.load.waiting} waiting"
        if stage is Stage.RUNNING:
            return counts if self.announced else "starting"
        return f"{stage.name.lower()}: {counts}"

    def extend(self, now_s: float) -> None:
        """Asks for more time to stop, at most every few seconds; call it while commands run."""
        if now_s >= self._extend_s:
            self._extend_s = now_s + _EXTEND_INTERVAL_S
            self._notify.extend(_EXTEND_S)

    def flush(self, now_s: float) -> float | None:
        """Sends what waits; returns when to try again, None if nothing waits."""
        return self._notify.flush(now_s)
