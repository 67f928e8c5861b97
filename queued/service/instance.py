"""The three programs of an instance, with the settings that they start with.

Made once before anything is forked. A reload changes the settings here, for children to come.
"""

import socket
from typing import NamedTuple

from queued.core import settings as rules
from queued.core.errors import ConfigError
from queued.core.model import Instance
from queued.core.settings import Settings, Value
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.linux.cgroup import RunCgroups
from queued.service.log import Log, open_log
from queued.service.worker.worker import Worker
from queued.store import paths


class SettingsOrigin(NamedTuple):
    """Where the settings come from besides the database, and what they say."""

    flags: dict[str, Value]
    environment: dict[str, str]
    conf_flag: str | None
    file: dict[str, Value]

    def resolve(self, stored: dict[str, str]) -> Settings:
        """The settings in force. Raises ConfigError."""
        sources = rules.resolve(
            flags=self.flags, environment=self.environment, stored=stored, file=self.file
        )
        return rules.settings_of(sources)

    def database(self) -> str:
        """The path of the database."""
        return paths.database_path(self.resolve({}).db_path, self.environment)

    def again(self) -> "SettingsOrigin":
        """With what the conf file says now. Raises QueuedError if it cannot be used."""
        conf = paths.conf_path(self.conf_flag, self.environment)  # it may be there only now
        return self._replace(file=paths.read_conf(conf))


class InstancePrograms:
    """See `nursery.Programs`."""

    def __init__(  # noqa: PLR0913 - all that the children share
        self,
        *,
        instance: Instance,
        lock: int,
        database: str,
        origin: SettingsOrigin,
        settings: Settings,
        scoreboard: Scoreboard,
        cgroups: RunCgroups | None,
        runs_lock: int | None = None,
    ) -> None:
        self.settings = settings
        self._instance = instance
        self._lock = lock
        self._database = database
        self._origin = origin
        self._scoreboard = scoreboard
        self.cgroups = cgroups
        self._runs_lock = runs_lock

    def log(self, role: str, **bound: object) -> Log:
        """A log for a process, with the settings of now."""
        return open_log(
            level=self.settings.log_level,
            style=self.settings.log_format,
            instance=self._instance.id,
            role=role,
            **bound,
        )

    def run_dispatcher(self, supervisor: socket.socket) -> int:
        """The dispatcher's life; its exit code."""
        from queued.service.dispatcher.dispatcher import Dispatcher
        from queued.service.dispatcher.live_settings import Sources

        origin = self._origin
        return Dispatcher(
            database=self._database,
            instance=self._instance,
            lock=self._lock,
            sources=Sources(origin.flags, origin.environment, origin.file),
            supervisor=supervisor,
            scoreboard=self._scoreboard,
            cgroups=self.cgroups,
            log=self.log("dispatcher"),
        ).run()

    def run_worker(self, number: int, dispatcher: socket.socket, lifeline: int) -> int:
        """A worker's life; its exit code."""
        return Worker(
            number=number,
            instance=self._instance.id,
            dispatcher=dispatcher,
            lifeline=lifeline,
            scoreboard=self._scoreboard,
            cgroups=self.cgroups,
            runs_lock=self._runs_lock,
            log=self.log("worker", worker=number),
        ).run()

    def reload(self) -> None:
        """Reads the conf file again. Raises QueuedError, and then nothing has changed.

        Settings that the database holds are the dispatcher's to know; here only what is never
        stored there counts: how the log is written.
        """
        origin = self._origin.again()
        settings = origin.resolve({})
        if origin.database() != self._database:
            msg = f"db_path is now {origin.database()}: restart the service to move to it"
            raise ConfigError(msg)
        self._origin, self.settings = origin, settings
