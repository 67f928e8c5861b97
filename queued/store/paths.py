"""The paths of the conf file and the database, and the content of the conf file."""

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from queued.core.errors import ConfigError, DeniedError, UsageError
from queued.core.settings import DATABASE_SCHEMES, Value, check_file
from queued.core.suggestions import shorten
from queued.store import permissions

if TYPE_CHECKING:
    from queued.store.engine import Engine
    from queued.store.queue_copy import QueueTables

SYSTEM_CONF = "/etc/queuectl.conf"
SYSTEM_DATABASE = "/var/lib/queued/queue.db"
_SIDE_FILES = ("-wal", "-shm", "-journal", ".lock")  # of SQLite, and the locks of instances


def conf_path(flag: str | None, environment: dict[str, str]) -> str | None:
    """Returns the first conf file of: --config, QUEUECTL_CONF, the user's own, the system's.

    Returns None if there is none. A file named by one of the first two must exist.
    """
    named = flag or environment.get("QUEUECTL_CONF")
    if named:
        return os.path.abspath(named)
    home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    own = os.path.join(home, "queued", "queuectl.conf")
    candidates = [SYSTEM_CONF] if os.geteuid() == 0 else [own, SYSTEM_CONF]
    return next((path for path in candidates if os.path.exists(path)), None)


_CONF_BYTES = 64 * 1024  # a larger file takes long to parse


class ConfContent(NamedTuple):
    """The settings of a conf file, and its tables `[[schedule]]`, which are not checked."""

    settings: dict[str, Value]
    schedules: object


def read_conf(path: str | None) -> dict[str, Value]:
    """Returns the settings in the conf file. See `read_whole_conf`."""
    return read_whole_conf(path).settings


def read_whole_conf(path: str | None) -> ConfContent:
    """Returns the content of the conf file. Raises ConfigError with the file and the line.

    Raises DeniedError if others could change the file, or read a password in it.
    """
    if path is None:
        return ConfContent({}, [])
    import tomllib

    try:
        with open(permissions.open_conf(path), "rb") as file:
            content = file.read(_CONF_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
        if len(content) > _CONF_BYTES:
            msg = f"{path} is larger than {_CONF_BYTES // 1024} KiB, so it is no conf file"
            raise ConfigError(msg)
        table = tomllib.loads(content.decode())
        schedules = table.pop("schedule", [])
        values = check_file(table, path)
    except RecursionError:
        msg = f"{path} is not valid TOML: its values are nested too deeply"
        raise ConfigError(msg) from None
    except ValueError as error:  # invalid UTF-8 and too long numbers, too
        msg = f"{path} is not valid TOML: {error}"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise ConfigError(msg) from None
    if mode & 0o077 and _has_password(str(values.get("db", ""))):
        msg = f"others can read {path}, which has a password; run: chmod go-rwx {path}"
        raise DeniedError(msg)
    return ConfContent(values, schedules)


def location(configured: Value, environment: dict[str, str], *, serving: bool = False) -> str:
    """Returns where the database is: a path, or the URL of a PostgreSQL database.

    An empty `configured` stands for the default path. All symbolic links of a path are resolved,
    because SQLite keeps its side files beside the real file, and every program must find the same
    lock files, whichever path it was given.

    If the path leads through a directory of another user, `queuectl` run as root takes the rights
    of that user until it exits, and a service run as root (`serving`) refuses the path. Raises
    UsageError, DeniedError.
    """
    named = named_location(configured, environment, serving=serving)
    if is_url(named):
        return named
    if serving:
        permissions.must_be_own(named)
    else:
        permissions.act_as_owner(named)
    path = os.path.realpath(named)
    if path.endswith(_SIDE_FILES):
        msg = f"{shorten(path)} is named like a file beside a database; choose a name that ends in"
        msg += f" none of {' '.join(_SIDE_FILES)}"
        raise UsageError(msg)
    return path


def is_url(location: str) -> bool:
    """Returns whether it is the URL of a PostgreSQL database."""
    return location.startswith(DATABASE_SCHEMES)


def must_be_no_secret(location: str) -> None:
    """Raises UsageError for a URL with a password, because the command line is public."""
    if _has_password(location):
        msg = "other users see a password on the command line; put it into ~/.pgpass (mode 0600)"
        raise UsageError(msg)


def _has_password(location: str) -> bool:
    # A colon before the last @, but not one before the number of a port.
    pattern = r"://[^/?#@\[]*:(?!\d*(?:[/?]|$))[^@]*@|[?&](ssl)?password="
    return is_url(location) and re.search(pattern, location) is not None


def engine_at(location: str, environment: dict[str, str]) -> "Engine":
    """Returns the engine of the database at a location, which is not opened yet."""
    if is_url(location):
        from queued.store.postgres.engine import PostgresEngine

        # systemd gives a unit a directory of its own, which differs for instances of `queued@`.
        own = os.path.dirname(_standard(environment, serving=True))
        directory = environment.get("STATE_DIRECTORY", "").partition(":")[0]  # of several
        return PostgresEngine(location, directory or own, _write_backup)
    from queued.store.sqlite.engine import SqliteEngine

    return SqliteEngine(location)


def _write_backup(source: "QueueTables", target: str, *, replace: bool) -> int:
    """See `WriteBackup`; the engines do not know each other."""
    from queued.store.sqlite.maintenance.moving import write_backup

    return write_backup(source, target, replace=replace)


def named_location(configured: Value, environment: dict[str, str], *, serving: bool = False) -> str:
    """Returns the URL, or the absolute path of the database with its links. Raises UsageError."""
    name = str(configured)
    if is_url(name):
        return name
    if re.match(r"file:|postgres(ql)?:|[A-Za-z][A-Za-z0-9+.-]*://", name):
        msg = (
            f"{shorten(name)} is neither the path of an SQLite file nor postgresql://HOST/DATABASE"
        )
        raise UsageError(msg)
    path = os.path.expanduser(name or _standard(environment, serving=serving))
    if not name and not os.path.isabs(path):
        msg = "the directory of your database is unknown: set HOME, or give its path with --db"
        raise UsageError(msg)
    if not os.path.isabs(path):
        # abspath would drop `link/..` without following the link
        path = os.path.join(current_directory(), path)
    try:
        path.encode()
    except UnicodeEncodeError:
        msg = f"{shorten(os.path.normpath(path))} is not valid UTF-8"
        raise UsageError(msg) from None
    return path


def current_directory() -> str:
    """Returns the directory of this process. Raises UsageError if it no longer exists."""
    try:
        return os.getcwd()
    except OSError:
        msg = "the current directory no longer exists"
        raise UsageError(msg) from None


def _standard(environment: dict[str, str], *, serving: bool) -> str:
    """Returns the default path: the system's for root, else the user's own.

    Without an own database queuectl uses the system's if the user may write it, as members of its
    group may. A service (`serving`) of the user creates an own one.
    """
    state = environment.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    own = os.path.join(state, "queued", "queue.db")
    is_member = not serving and not os.path.exists(own) and os.access(SYSTEM_DATABASE, os.W_OK)
    return SYSTEM_DATABASE if os.geteuid() == 0 or is_member else own
