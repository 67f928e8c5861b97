"""What the outside is told of a service: ready, one line that says how it is, more time to stop."""

from enum import IntEnum

from queued.service.ipc.messages import Load
from queued.service.supervisor.sd_notify import SdNotify

_EXTEND_S = 15.0
_EXTEND_AGAIN_S = 5.0


class Stage(IntEnum):
    """How far the service is on its way out; it never goes back."""

    RUNNING = 0
    DRAINING = 1  # workers finish what they run
    STOPPING = 2  # workers end what they run
    FINISHING = 3  # no worker is left; the dispatcher records the rest
    ABANDONED = 4  # the dispatcher was told to end at once


class StatusReporter:
    """Says each thing once; repeats only what asks for time."""

    def __init__(self, notify: SdNotify) -> None:
        self.load = Load(busy=[], waiting=0)
        self.announced = False
        self._notify = notify
        self._extend_s: float | None = None

    def ready(self) -> None:
        """The service works, or works again with new settings."""
        self.announced = True
        self._notify.ready()

    def reloading(self) -> None:
        """Its settings are being renewed."""
        if self.announced:
            self._notify.reloading()
            self._ask_for_time()

    def reloaded(self) -> None:
        """They are."""
        self._extend_s = None
        if self.announced:
            self._notify.ready()

    def stopping(self) -> None:
        """It is on its way out; as long as jobs may take to end, no stop is to be cut short."""
        self._notify.stopping()
        self._ask_for_time()

    def well(self) -> None:
        """The loop turns and all children have answered."""
        self._notify.watchdog()

    def status(self, stage: Stage, workers: int, *, reloading: bool) -> None:
        """The line of `systemctl status`."""
        self._notify.status(self.line(stage, workers, reloading=reloading))

    def line(self, stage: Stage, workers: int, *, reloading: bool = False) -> str:
        """`4 workers, 2 busy, 17 waiting`, and what else is going on."""
        noun = "worker" if workers == 1 else "workers"
        counts = f"{workers} {noun}, {len(self.load.busy)} busy, {self.load.waiting} waiting"
        if stage is Stage.RUNNING and not self.announced:
            return "starting"
        if stage is Stage.RUNNING:
            return f"{counts}, reloading" if reloading else counts
        return f"{stage.name.lower()}: {counts}"

    def _ask_for_time(self) -> None:
        self._extend_s = 0.0 if self._notify.listening else None

    def extend(self, now_s: float) -> None:
        """Asks for more time while jobs are waited for."""
        if self._extend_s is not None and now_s >= self._extend_s:
            self._extend_s = now_s + _EXTEND_AGAIN_S
            self._notify.extend(_EXTEND_S)

    def extended(self) -> None:
        """No worker is left: from now on a stop must not take long."""
        self._extend_s = None

    def next_s(self) -> float | None:
        """When `extend` is due."""
        return self._extend_s
