"""The programs that an instance's children run, and the settings that they start with.

This module imports all that the children need, before the first fork: a module that a child
imported later could be another version's, after an upgrade in place.
"""

import os
import socket

from queued.core.model import Instance
from queued.core.serve_until import ServeUntil
from queued.core.settings import Value
from queued.core.settings_in_force import Settings
from queued.service.dispatcher.dispatcher import Dispatcher
from queued.service.dispatcher.live_settings import SettingsOrigin
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.linux.cgroup import RunCgroups
from queued.service.log import Log, LogOutput
from queued.service.log_file import LogFile
from queued.service.warden.warden import Warden
from queued.service.worker.worker import Worker
from queued.store.engine import Engine


class InstancePrograms:
    """Implements `forking.Programs`."""

    def __init__(  # noqa: PLR0913 - all that the children share
        self,
        *,
        instance: Instance,
        lock: int,
        engine: Engine,
        origin: SettingsOrigin,
        settings: Settings,
        scoreboard: Scoreboard,
        cgroups: RunCgroups | None,
        until: ServeUntil,
        runs_lock: int | None = None,
        log_path: str | None = None,
    ) -> None:
        self.settings = settings
        file = LogFile(log_path) if log_path is not None else None
        self.log_output = LogOutput(settings.log_level, settings.log_format, file)
        self._configure_log()
        self._instance = instance
        self._lock = lock
        self._engine = engine
        self.warded = engine.spans_hosts
        engine.import_ledger()
        self._origin = origin
        self._scoreboard = scoreboard
        self.until = until
        self.cgroups = cgroups
        self._runs_lock = runs_lock

    def apply(self, settings: Settings, file: dict[str, Value]) -> None:
        """See `Programs.apply`."""
        self.settings = settings
        self._origin = self._origin._replace(file=file, schedules=None)
        self._configure_log()

    def _configure_log(self) -> None:
        settings = self.settings
        self.log_output.configure(settings.log_level, settings.log_format, settings.log_max_size)

    def run_dispatcher(self, supervisor: socket.socket) -> int:
        """See `Programs.run_dispatcher`."""
        self.log_output.after_fork()
        return Dispatcher(
            engine=self._engine,
            instance=self._instance,
            lock=self._lock,
            origin=self._origin,
            settings=self.settings,
            supervisor=supervisor,
            scoreboard=self._scoreboard,
            cgroups=self.cgroups,
            log_output=self.log_output,
            log=self.log("dispatcher"),
            until=self.until,
        ).run()

    def run_worker(self, number: int, dispatcher: socket.socket, lifeline: int) -> int:
        """See `Programs.run_worker`."""
        self.log_output.after_fork()
        self._forget_private()
        return Worker(
            number=number,
            instance=self._instance.id,
            dispatcher=dispatcher,
            lifeline=lifeline,
            scoreboard=self._scoreboard,
            cgroups=self.cgroups,
            runs_lock=self._runs_lock,
            log_output=self.log_output,
            log=self.log("worker", worker=number),
        ).run()

    def _forget_private(self) -> None:
        """Removes the variables that no command may have from the environment."""
        for name in list(os.environ):
            if name.startswith(self._engine.private_variables):
                del os.environ[name]

    def run_warden(self, presence: int) -> int:
        """See `Programs.run_warden`."""
        self.log_output.after_fork()
        self._forget_private()
        return Warden(
            instance=self._instance.id,
            presence=presence,
            scoreboard=self._scoreboard,
            cgroups=self.cgroups,
            fence_command=self.settings.fence_command,
            log_output=self.log_output,
            log=self.log("warden"),
        ).run()

    def log(self, role: str, **bound: object) -> Log:
        """Returns the log of the process with this role."""
        return self.log_output.log(instance=self._instance.id, role=role, **bound)
