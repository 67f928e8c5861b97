"""The settings of a running service, which follow the conf file and the stored settings."""

from collections.abc import Callable
from typing import NamedTuple

from queued.core import settings as rules
from queued.core.errors import ConfigError, UsageError
from queued.core.schedules import Schedule, file_schedules
from queued.core.settings import SETTINGS, Value
from queued.core.settings_in_force import Settings, settings_of
from queued.service.log import Log
from queued.store import paths


class SettingsOrigin(NamedTuple):
    """All sources of settings other than the database, with their contents."""

    flags: dict[str, Value]
    environment: dict[str, str]
    conf_flag: str | None
    file: dict[str, Value]
    schedules: tuple[Schedule, ...] | None = ()  # of the conf file; None: the database has them

    def resolve(self, stored: dict[str, str]) -> Settings:
        """Returns the settings with these stored rows. Raises ConfigError if one is not valid."""
        sources = rules.resolve(
            flags=self.flags, environment=self.environment, stored=stored, file=self.file
        )
        return settings_of(sources)

    def overrides(self) -> dict[str, str]:
        """Returns, by setting, the flag or variable that overrides what `config set` stores."""
        found = {key: rules.variable(key, self.environment) for key in SETTINGS}
        found |= {key: f"--{key.replace('_', '-')}" for key in self.flags}
        return {key: name for key, name in found.items() if name and SETTINGS[key].stored}

    def database(self) -> str:
        """Returns the location of the database."""
        return paths.location(self.resolve({}).db, self.environment, serving=True)

    def conf_path(self) -> str | None:
        """Returns the path of the conf file; None if there is none."""
        return paths.conf_path(self.conf_flag, self.environment)

    def reread(self) -> "SettingsOrigin":
        """Returns the origin with the present content of the conf file.

        Raises QueuedError if the file is not valid, or names another database.
        """
        # The path is looked up again, because the conf file may not have existed at the start.
        conf = self.conf_path()
        content = paths.read_whole_conf(conf)
        schedules = file_schedules(content.schedules, conf)
        again = self._replace(file=content.settings, schedules=schedules)
        if (moved := again.database()) != self.database():
            shown = paths.engine_at(moved, self.environment).name
            msg = f"db is now {shown}: restart the service to move to it"
            raise ConfigError(msg)
        return again


class LiveSettings:
    """Resolves the settings again when the stored rows or the conf file may have changed."""

    def __init__(
        self, origin: SettingsOrigin, settings: Settings, stored: dict[str, str], log: Log
    ) -> None:
        """`settings` are those of the start, or those that the previous dispatcher applied last."""
        self.origin = origin
        self.settings = settings
        self._stored = stored
        self._refused: dict[str, str] = {}
        self._log = log
        self._resolve()

    def apply(self, stored: dict[str, str]) -> bool:
        """Applies the stored rows; returns whether a setting has changed."""
        self._stored = stored
        return self._resolve()

    def reload(self, store: Callable[[SettingsOrigin], None]) -> None:
        """Reads the conf file again, stores its schedules with `store`, and applies its settings.

        Raises QueuedError, and changes nothing, if the file is not valid or `store` fails.
        """
        again = self.origin.reread()
        store(again)
        self.origin = again
        self._resolve()

    def _resolve(self) -> bool:
        """Applies the valid rows; returns whether a setting has changed.

        A setting whose row is not valid keeps its present value.
        """
        refused = refused_rows(self._stored)
        for key, error in refused.items():
            if self._refused.get(key) != error:
                action = f"set a valid value: queuectl config set {key} VALUE"
                self._log.error("settings.refused", error=error, action=action)
        self._refused = refused
        good = {key: text for key, text in self._stored.items() if key not in refused}
        before, settings = self.settings, self.origin.resolve(good)
        self.settings = settings._replace(**{key: getattr(before, key) for key in refused})
        after = self.settings._asdict()
        changed = {key: after[key] for key, was in before._asdict().items() if was != after[key]}
        if changed:
            self._log.info("settings.applied", **changed)
        return bool(changed)


def refused_rows(stored: dict[str, str]) -> dict[str, str]:
    """Returns, by key, an error for each stored row whose value is not valid for its setting."""
    wrong = {}
    for key, text in stored.items():
        if key in SETTINGS and SETTINGS[key].stored:
            try:
                rules.parse(key, text)
            except UsageError as error:
                wrong[key] = str(error)
    return wrong
