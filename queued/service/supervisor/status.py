"""What is reported about a service: that it is ready, one status line, more time to stop."""

from queued.service.ipc.messages import Load
from queued.service.supervisor.sd_notify import SdNotify
from queued.service.supervisor.stage import Stage

_EXTEND_S = 20.0
_EXTEND_INTERVAL_S = 5.0


class StatusReporter:
    """Reports each change once; repeats only the request for more time."""

    def __init__(self, notify: SdNotify) -> None:
        self.load = Load(busy=[], waiting=0)
        self.announced = False
        self._notify = notify
        self._extend_s = 0.0

    def ready(self) -> None:
        """Reports that the service works."""
        self.announced = True
        self._notify.ready()

    def reloading(self) -> None:
        """Reports that the conf file is read again."""
        if self.announced:
            self._notify.reloading()

    def reloaded(self) -> None:
        """Reports that the reload is over."""
        if self.announced:
            self._notify.ready()

    def stopping(self) -> None:
        """Reports that the service is on its way out."""
        self._notify.stopping()

    def well(self) -> None:
        """Reports that the loop turns and all children have answered."""
        self._notify.watchdog()

    def status(self, stage: Stage, workers: int) -> None:
        """Sends the line of `systemctl status`."""
        self._notify.status(self.line(stage, workers))

    def line(self, stage: Stage, workers: int) -> str:
        """Returns `4 workers, 2 busy, 17 waiting`, with the stage before it if it is another."""
        noun = "worker" if workers == 1 else "workers"
        counts = f"{workers} {noun}, {len(self.load.busy)} busy, {self.load.waiting} waiting"
        if stage is Stage.RUNNING:
            return counts if self.announced else "starting"
        return f"{stage.name.lower()}: {counts}"

    def extend(self, now_s: float) -> None:
        """Asks for more time to stop, every few seconds; call it while commands run."""
        if now_s >= self._extend_s:
            self._extend_s = now_s + _EXTEND_INTERVAL_S
            self._notify.extend(_EXTEND_S)

    def flush(self, now_s: float) -> float | None:
        """Sends what could not be sent before; returns when to try again, None if never."""
        return self._notify.flush(now_s)
