"""Every setting: its type, default, range and meaning, and the precedence of its five sources.

Reads no source itself: flags, environment, stored rows and the conf file are passed as mappings.
"""

import math
from typing import NamedTuple

from queued.core import labels
from queued.core.errors import ConfigError, NotFoundError, UsageError
from queued.core.suggestions import did_you_mean, shorten
from queued.core.times import parse_duration

Value = int | float | str | bool


class Setting(NamedTuple):
    """The type, default, meaning and range of one setting. Durations are in seconds.

    `stored`: whether `config set` accepts it.
    """

    key: str
    kind: type
    default: Value
    meaning: str
    minimum: float = -math.inf
    maximum: float = math.inf
    unit: str = ""
    choices: tuple[str, ...] = ()
    stored: bool = True


_YEAR_S = 31_536_000
_LEVELS = ("debug", "info", "warning", "error")
DATABASE_SCHEMES = ("postgresql://", "postgres://")  # of the URLs that `db` may be
MAX_HOOK_BYTES = 8_192  # so that a job with two hooks fits into one message to a worker


def _retention(state: str, usual_s: float) -> Setting:
    meaning = f"how long {state} jobs are kept (0: for ever)"
    return Setting(f"retention_{state}", float, usual_s, meaning, 0, 100 * _YEAR_S, "s")


def _hook(key: str, event: str) -> Setting:
    meaning = f"a command to enqueue as a job when a job {event} (empty: none)"
    return Setting(key, str, "", meaning, maximum=MAX_HOOK_BYTES)


SETTINGS = {
    setting.key: setting
    for setting in (
        Setting("workers", int, 4, "how many jobs run at the same time", 1, 1024),
        Setting(
            "default_max_retries",
            int,
            3,
            "runs in all if each fails, for jobs without max_retries",
            0,
            1_000_000,
        ),
        Setting(
            "backoff_base", float, 2.0, "a retry waits backoff_base ** attempts seconds", 1, 1e300
        ),
        Setting("backoff_max", float, 3600.0, "the longest wait before a retry", 0, _YEAR_S, "s"),
        Setting(
            "backoff_jitter", float, 0.0, "changes each wait at random by up to this fraction", 0, 1
        ),
        Setting(
            "defer_delay",
            float,
            30.0,
            "the wait after an exit code in defer_on; it grows as a backoff does",
            0,
            _YEAR_S,
            "s",
        ),
        Setting(
            "default_timeout",
            float,
            0.0,
            "how long a run may take (0: no limit)",
            0,
            100 * _YEAR_S,
            "s",
        ),
        Setting(
            "kill_grace", float, 10.0, "time from TERM to KILL when a job is stopped", 0, 86400, "s"
        ),
        Setting(
            "shutdown_grace",
            float,
            30.0,
            "how long running jobs may take to finish when the service stops",
            0,
            _YEAR_S,
            "s",
        ),
        Setting(
            "output_limit",
            int,
            1_048_576,
            "how much of each output stream is kept: its beginning and its end",
            0,
            1_073_741_824,
            "bytes",
        ),
        _retention("completed", 2_592_000.0),
        _retention("dead", 0.0),
        _retention("cancelled", 2_592_000.0),
        _hook("on_dead", "becomes dead"),
        _hook("on_completed", "completes"),
        Setting(
            "environment",
            str,
            "inherit",
            "the variables that commands inherit from the service: all, or only a few",
            choices=("inherit", "clean"),
        ),
        Setting(
            "worker_poll_interval",
            float,
            1.0,
            "how often to look for jobs where inotify does not work",
            0.01,
            3600,
            "s",
        ),
        Setting(
            "lease", float, 120.0, "over PostgreSQL: how long a lost host keeps jobs", 15, 3600, "s"
        ),
        Setting(
            "failover",
            str,
            "lossy",
            "over PostgreSQL: whether a standby that is promoted may lack commits",
            choices=("lossy", "lossless"),
        ),
        Setting(
            "fence_command",
            str,
            "",
            "over PostgreSQL: a command for runs that cannot be killed (empty: none)",
            stored=False,
        ),
        Setting(
            "db",
            str,
            "",
            "the database: a path or PostgreSQL URL (empty: the default path)",
            stored=False,
        ),
        Setting("labels", str, "", "labels that jobs may require: gpu,zone=a", stored=False),
        Setting("queues", str, "", "the queues that it serves: a,b*,-c (empty: all)", stored=False),
        Setting("schedules", bool, default=True, meaning="whether to fire schedules", stored=False),
        Setting(
            "log_level", str, "info", "lowest level that is logged", choices=_LEVELS, stored=False
        ),
        Setting(
            "log_format",
            str,
            "auto",
            "JSON or text (console); auto means text on a terminal, else JSON",
            choices=("auto", "json", "console"),
            stored=False,
        ),
        Setting(
            "log_max_size",
            int,
            67_108_864,
            "size at which the log file of --background is renamed to NAME.1 (0: never)",
            0,
            1_099_511_627_776,
            "bytes",
        ),
        Setting(
            "log_output",
            bool,
            default=False,
            meaning="whether the output of commands is logged, line by line",
        ),
    )
}

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
SPELLINGS = {"db_path": "db", "max_retries": "default_max_retries"}


class Source(NamedTuple):
    """A value and where it comes from: flag, environment, stored, file or default."""

    value: Value
    origin: str


def canonical(key: str) -> str:
    """Returns the key of a setting from any accepted spelling, such as `max-retries`.

    Raises NotFoundError with the closest known key.
    """
    name = key.replace("-", "_")
    name = SPELLINGS.get(name, name)
    if name not in SETTINGS:
        hint = did_you_mean(name, SETTINGS)
        msg = f"unknown setting {shorten(key)}{hint} (see: queuectl config list)"
        raise NotFoundError(msg)
    return name


def variable(key: str, environment: dict[str, str]) -> str | None:
    """Returns the environment variable that gives a setting; None if none is set."""
    older = ("QUEUECTL_DB_PATH",) if key == "db" else ()
    return next((n for n in (f"QUEUECTL_{key.upper()}", *older) if n in environment), None)


def default(key: str) -> Value:
    """Returns the built-in default of a setting."""
    return SETTINGS[key].default


def parse(key: str, text: str) -> Value:
    """Returns the value that `text` stands for in the setting `key`. Raises UsageError."""
    setting = SETTINGS[key]
    if setting.kind is str:
        return check(key, text)
    if setting.kind is bool:
        return check(key, _WORDS.get(text.lower(), text))
    read = int if setting.kind is int else parse_duration if setting.unit == "s" else float
    try:
        return check(key, read(text))
    except (ValueError, UsageError):
        raise _wrong(key, text) from None


def check(key: str, value: object) -> Value:
    """Returns `value` if the setting `key` takes it. Raises UsageError with the allowed range."""
    setting = SETTINGS[key]
    if setting.kind is str:
        good = isinstance(value, str) and _is_text_of(setting, value)
    elif setting.kind is bool:
        good = isinstance(value, bool)
    else:
        number = int if setting.kind is int else (int, float)
        good = (
            isinstance(value, number)
            and not isinstance(value, bool)
            and setting.minimum <= value <= setting.maximum
        )
    if not good or not isinstance(value, int | float | str):
        raise _wrong(key, value)
    if key == "labels":
        labels.check_own(labels.split(str(value)))
    if key == "queues":
        from queued.core import queue_names  # not at the start of each command

        queue_names.check(labels.split(str(value)))
    return float(value) if setting.kind is float else value


def _is_text_of(setting: Setting, text: str) -> bool:
    if setting.choices and text not in setting.choices:
        return False
    try:
        # A path may have any bytes, but the database stores text.
        size = len(text.encode(errors="strict" if setting.stored else "surrogateescape"))
    except UnicodeEncodeError:
        return False
    return size <= setting.maximum and "\0" not in text


def _wrong(key: str, value: object) -> UsageError:
    return UsageError(f"{key} takes {expected(key)}, not {shorten(value)}")


def expected(key: str) -> str:
    """Returns a description of the values that the setting `key` takes, for messages."""
    setting = SETTINGS[key]
    if setting.choices:
        return "one of " + ", ".join(setting.choices)
    if setting.kind is bool:
        return "true or false"
    if setting.kind is str:
        bound = f" of at most {setting.maximum:.12g} bytes"
        return "text" + (bound if setting.maximum < math.inf else "")
    noun = "a whole number" if setting.kind is int else "a number"
    unit = {"s": " of seconds", "": ""}.get(setting.unit, f" of {setting.unit}")
    text = ', or text such as "1h30m",' if setting.unit == "s" else ""
    return f"{noun}{unit}{text} from {setting.minimum:.12g} to {setting.maximum:.12g}"


def resolve(
    *,
    flags: dict[str, Value],
    environment: dict[str, str],
    stored: dict[str, str],
    file: dict[str, Value],
) -> dict[str, Source]:
    """Returns each setting from its first source: flag, environment, stored, file, default.

    Raises ConfigError with the name of the invalid variable or row.
    """
    sources = {}
    for key, setting in SETTINGS.items():
        named = variable(key, environment)
        if key in flags:
            sources[key] = Source(flags[key], "flag")
        elif named is not None:
            sources[key] = Source(_from(named, key, environment[named]), "environment")
        elif setting.stored and key in stored:
            sources[key] = Source(_from("config set", key, stored[key]), "stored")
        elif key in file:
            sources[key] = Source(file[key], "file")
        else:
            sources[key] = Source(default(key), "default")
    return sources


def _from(place: str, key: str, text: str) -> Value:
    try:
        return parse(key, text)
    except UsageError as error:
        msg = f"{place}: {error}"
        raise ConfigError(msg) from None


def check_file(table: dict[str, object], path: str) -> dict[str, Value]:
    """Returns the conf file's settings by their keys. Raises ConfigError with the file's path."""
    known: dict[str, Value] = {}
    for key, value in table.items():
        try:
            name = canonical(key)
        except NotFoundError:
            msg = f"{path}: unknown setting {shorten(key)}{did_you_mean(key, SETTINGS)}"
            raise ConfigError(msg) from None
        if name in known:
            msg = f"{path}: {name} is given twice, once as {shorten(key)}"
            raise ConfigError(msg)
        try:
            text = isinstance(value, str) and SETTINGS[name].unit == "s"
            known[name] = parse(name, str(value)) if text else check(name, value)
        except UsageError as error:
            msg = f"{path}: {error}"
            raise ConfigError(msg) from None
        if name == "db" and value and not str(value).startswith(("/", "~", *DATABASE_SCHEMES)):
            wanted = "an absolute path or postgresql://HOST/DATABASE"
            msg = f"{path}: db takes {wanted}, not {shorten(value)}"
            raise ConfigError(msg)
    return known
