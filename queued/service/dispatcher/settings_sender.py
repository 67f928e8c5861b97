"""Applies the settings to the log, and sends them to the workers and the supervisor."""

from collections.abc import Callable

from queued.core.errors import QueuedError
from queued.service.dispatcher.live_settings import LiveSettings, SettingsOrigin
from queued.service.dispatcher.worker_pool import WorkerPool
from queued.service.ipc.channel import Channel
from queued.service.ipc.messages import Applied, Reloaded
from queued.service.log import LogOutput


class SettingsSender:
    """`changed`: whether the settings have changed since they were sent."""

    def __init__(
        self, live: LiveSettings, log_output: LogOutput, pool: WorkerPool, supervisor: Channel
    ) -> None:
        self.changed = False
        self._live = live
        self._log_output = log_output
        self._pool = pool
        self._supervisor = supervisor

    def send(self) -> None:
        """Sends the settings in force."""
        self.changed = False
        settings = self._live.settings
        self._log_output.configure(settings.log_level, settings.log_format, settings.log_max_size)
        self._pool.configure_logs(settings)
        self._supervisor.send(Applied(settings=settings, file=self._live.origin.file))

    def reload(self, number: int, store: Callable[[SettingsOrigin], None]) -> bool:
        """Reads the conf file again; returns whether it is valid, and tells the supervisor.

        `store` stores its schedules.
        """
        try:
            self._live.reload(store)
        except QueuedError as error:
            self._supervisor.send(Reloaded(number=number, refused=str(error)))
            return False
        self.send()
        self._supervisor.send(Reloaded(number=number, refused=None))
        return True
