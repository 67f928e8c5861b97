"""The settings in force in a running service, as its sources and the stored rows make them."""

from typing import NamedTuple

from queued.core import settings as rules
from queued.core.errors import ConfigError
from queued.core.settings import Settings, Value
from queued.service.log import Log


class Sources(NamedTuple):
    """Where settings come from besides the database."""

    flags: dict[str, Value]
    environment: dict[str, str]
    file: dict[str, Value]


class LiveSettings:
    """Resolves the settings again whenever the stored ones may have changed."""

    def __init__(self, sources: Sources, log: Log) -> None:
        self._sources = sources
        self._log = log
        self.settings = Settings()
        self._known = False

    def apply(self, stored: dict[str, str]) -> bool:
        """Whether the settings are new. Wrong ones are refused and the old ones stay."""
        flags, environment, file = self._sources
        try:
            sources = rules.resolve(flags=flags, environment=environment, stored=stored, file=file)
        except ConfigError as error:
            self._log.error("settings.refused", error=str(error), action="queuectl config set it")
            return False
        before, self.settings = self.settings, rules.settings_of(sources)
        after = self.settings._asdict()
        changed = {key: after[key] for key, was in before._asdict().items() if was != after[key]}
        if changed:
            self._log.info("settings.applied", **changed)
        first, self._known = not self._known, True
        return first or bool(changed)
