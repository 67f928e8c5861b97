"""The parts that all commands share: the paths, the settings, the database, the names of jobs.

The database is opened when it is first used, so that `--help` and bad input never touch it.
"""

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING

from queued.core import settings
from queued.core.errors import ConfigError, NotFoundError, UsageError
from queued.core.suggestions import shorten
from queued.ctl.arguments import Arguments
from queued.ctl.render import print_err, shell_line
from queued.store import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queued.core.model import Label
    from queued.store.engine import Engine, Maintenance
    from queued.store.protocols import Store

BUSY_LIMIT_S = 300.0  # how long a command waits for a locked database
_RECENT = r"@(?:last|-([1-9][0-9]{0,3}))"
_BUSY_NOTICE_S = 2.0


class Context:
    """The database and settings of one command.

    `creates`: the command may make the database. `serves`: it starts a service.
    """

    def __init__(
        self,
        arguments: Arguments,
        busy_limit_s: float = BUSY_LIMIT_S,
        *,
        creates: bool = False,
        serves: bool = False,
    ) -> None:
        self.json = arguments.flag("--json")
        self.changed = 0  # how many jobs the command has changed
        self.incomplete = False  # a job that the command line names does not match its filter
        self._database_flag = _path(arguments, "--db")
        paths.must_be_no_secret(self._database_flag or "")
        self._conf_flag = _path(arguments, "--config")
        self._busy_limit_s = busy_limit_s
        self._creates = creates
        self._serves = serves
        self._environment = dict(os.environ)

    @property
    def program(self) -> str:
        """How a message names a command for the same database: `queuectl`, with the flags given."""
        flags = (("--db", self._database_flag), ("--config", self._conf_flag))
        named = [word for flag in flags if flag[1] is not None for word in flag]
        if not named:
            return "queuectl"
        return shell_line(["queuectl", *map(str, named)])

    @cached_property
    def conf(self) -> str | None:
        """The conf file; None if there is none."""
        return paths.conf_path(self._conf_flag, self._environment)

    @cached_property
    def engine(self) -> "Engine":
        """The engine of the database; see `paths.location`."""
        configured = self._resolve({})["db"].value
        location = paths.location(configured, self._environment, serving=self._serves)
        return paths.engine_at(location, self._environment)

    def engine_at(self, named: str) -> "Engine":
        """Returns the engine of another database, which the user names. Raises UsageError."""
        if not named:
            msg = "an empty text names no database"
            raise UsageError(msg)
        paths.must_be_no_secret(named)
        location = paths.location(named, self._environment)
        return paths.engine_at(location, self._environment)

    @property
    def database(self) -> str:
        """The name of the database in messages: its path, or its URL without the password."""
        return self.engine.name

    @property
    def named_database(self) -> str:
        """The URL or path of the database; another program will resolve its symbolic links."""
        configured = self._resolve({})["db"].value
        return paths.named_location(configured, self._environment, serving=self._serves)

    @cached_property
    def store(self) -> "Store":
        """The open database. Raises NotFoundError if it is missing and the command only reads."""
        if not self._creates and not self.engine.exists():
            msg = f"there is no database at {self.database}; the first enqueue creates it"
            raise NotFoundError(msg)
        store = self.engine.open_store(self._busy_limit_s, _BusyNotice(), writes=self._creates)
        if store.backup_path:
            print_err(f"queuectl: the database was upgraded; the old one is {store.backup_path}")
        return store

    def upgrade(self) -> str | None:
        """Creates or upgrades the database; see `Engine.upgrade`."""
        return self.engine.upgrade(self._busy_limit_s)

    def maintenance(self) -> "Maintenance":
        """Returns the commands for the database as a whole."""
        return self.engine.maintenance(self._busy_limit_s, _BusyNotice())

    def sources(self) -> dict[str, settings.Source]:
        """Returns every setting with its source, which is not `stored` if there is no database."""
        try:
            return self._resolve(self.store.config())
        except NotFoundError:
            return self._resolve({})

    def _resolve(self, stored: dict[str, str]) -> dict[str, settings.Source]:
        flag = self._database_flag
        return settings.resolve(
            flags={} if flag is None else {"db": flag},
            environment=self._environment,
            stored=stored,
            file=self._file,
        )

    @cached_property
    def _file(self) -> dict[str, settings.Value]:
        """The settings of the conf file. If it has an error: no settings, after a warning.

        Raises ConfigError if the error may change which database is used or what is written to it.
        """
        try:
            return paths.read_conf(self.conf)
        except ConfigError as error:
            named = self._database_flag or settings.variable("db", self._environment)
            if self._creates or not named or not os.path.exists(self.conf or ""):
                raise
            print_err(f"queuectl: {error}; the file is ignored")
            return {}

    def find(self, names: "Iterable[str]", labels: "Sequence[Label]" = ()) -> list[int]:
        """Returns the row numbers of the named jobs, each once.

        The name of an array stands for all of its jobs that have one of these states, if there are
        any. Raises NotFoundError or UsageError if a name stands for no job, or for several. The
        caller changes jobs only after this, so that a command with a wrong name changes nothing.
        """
        return list(dict.fromkeys(row for name in names for row in self._rows(name, labels)))

    def find_one(self, name: str) -> int:
        """Returns the row number of the named job; see `find`."""
        rows = self.find([name])
        if len(rows) > 1:
            example = self.store.show(rows[0]).id
            msg = f"{name} is an array of {len(rows)} jobs; name one of them, such as {example}"
            raise UsageError(msg)
        return rows[0]

    def ids(self, names: "Iterable[str]") -> list[str]:
        """Returns the ids of the named jobs, and the names of arrays; see `find`."""
        found = {name: self.find([name]) for name in names}
        return [
            name if len(rows) > 1 else self.store.show(rows[0]).id for name, rows in found.items()
        ]

    def _rows(self, name: str, labels: "Sequence[Label]") -> "Sequence[int]":
        try:
            return [self._find(name)]
        except NotFoundError:
            from queued.core.records import JobFilter

            array = JobFilter(array_id=name)
            if not (name.isprintable() and (rows := self.store.select(array))):
                raise
            return self.store.select(array._replace(labels=tuple(labels))) if labels else rows

    def _find(self, name: str) -> int:
        store = self.store  # raises NotFoundError, which names the database
        try:
            if name.isprintable():
                return store.find(name)
        except NotFoundError:
            if (recent := re.fullmatch(_RECENT, name)) is not None:
                return self._find_recent(name, int(recent[1] or 1))
        shown = repr(name) if name.isprintable() else shorten(name)
        msg = f"no job {shown} (see: {self.program} list)"
        raise NotFoundError(msg)

    def _find_recent(self, name: str, count: int) -> int:
        """Returns the row number of the `count`-th newest job; the newest has the `count` 1."""
        from queued.core.records import JobFilter

        jobs = list(self.store.list(JobFilter(), limit=count, reverse=True))
        if len(jobs) < count:
            msg = f"no job {name}: there are only {len(jobs)}"
            raise NotFoundError(msg)
        return jobs[-1].seq

    def close(self) -> None:
        """Closes the database if it was opened."""
        if "store" in self.__dict__:
            self.store.close()


class _BusyNotice:
    """Prints once, after two seconds, that the command waits for the database."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, waited_s: float) -> None:
        if waited_s >= _BUSY_NOTICE_S and not self._said:
            self._said = True
            print_err("queuectl: waiting for the database: another program holds it")


def _path(arguments: Arguments, name: str) -> str | None:
    path = arguments.text(name)
    if path == "":
        msg = f"{name} takes a path, not an empty text"
        raise UsageError(msg)
    return path
