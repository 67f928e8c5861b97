"""What every command stands on: which database, which settings, and patience with others.

Nothing is opened before it is asked for, so that `--help` and bad input never touch the database.
"""

import os
from functools import cached_property
from typing import TYPE_CHECKING

from queued.core import settings
from queued.core.errors import NotFoundError, UsageError
from queued.core.suggestions import brief
from queued.ctl.arguments import Arguments
from queued.ctl.render import say
from queued.store import paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from queued.store.protocols import Store
    from queued.store.sqlite.busy_handler import BusyHandler

BUSY_LIMIT_S = 300.0  # how long a locked database is waited for
_BUSY_NOTICE_S = 2.0


class Context:
    """The surroundings of one command."""

    def __init__(self, arguments: Arguments, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self.json = arguments.flag("--json")
        self._database_flag = _path(arguments, "--db")
        self._conf_flag = _path(arguments, "--config")
        self._busy_limit_s = busy_limit_s
        self._environment = dict(os.environ)

    @cached_property
    def conf(self) -> str | None:
        """The conf file; None if there is none."""
        return paths.conf_path(self._conf_flag, self._environment)

    @cached_property
    def database(self) -> str:
        """The absolute path of the database."""
        configured = self._resolve({})["db_path"].value
        return paths.database_path(configured, self._environment)

    @cached_property
    def store(self) -> "Store":
        """The open database, which is made if it is not there."""
        from queued.store.sqlite.client_store import SqliteStore

        store = SqliteStore(self.database, self.busy_handler)
        if store.backup_path:
            say(f"queuectl: the database was upgraded; the old one is {store.backup_path}")
        return store

    @cached_property
    def busy_handler(self) -> "BusyHandler":
        """How long to wait for others."""
        from queued.store.sqlite.busy_handler import BusyHandler

        return BusyHandler(self._busy_limit_s, _BusyNotice())

    def sources(self) -> dict[str, settings.Source]:
        """Every setting with where it comes from, the stored ones included."""
        return self._resolve(self.store.config())

    def _resolve(self, stored: dict[str, str]) -> dict[str, settings.Source]:
        flag = self._database_flag
        return settings.resolve(
            flags={} if flag is None else {"db_path": flag},
            environment=self._environment,
            stored=stored,
            file=self._file,
        )

    @cached_property
    def _file(self) -> dict[str, settings.Value]:
        return paths.read_conf(self.conf)

    def find(self, names: "Iterable[str]") -> list[int]:
        """The rows of all jobs that are named, each once; raises before anything is touched."""
        return list(dict.fromkeys(self._find(name) for name in names))

    def _find(self, name: str) -> int:
        if not name.isprintable():
            msg = f"no job {brief(name)} (see: queuectl list)"
            raise NotFoundError(msg)
        return self.store.find(name)

    def close(self) -> None:
        """Closes the database if it was opened."""
        if "store" in self.__dict__:
            self.store.close()


class _BusyNotice:
    """Says once, after a while, why nothing happens."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, waited_s: float) -> None:
        if waited_s >= _BUSY_NOTICE_S and not self._said:
            self._said = True
            say("queuectl: waiting for the database: another program holds it")


def _path(arguments: Arguments, name: str) -> str | None:
    path = arguments.text(name)
    if path == "":
        msg = f"{name} needs a path, not an empty text"
        raise UsageError(msg)
    return path
