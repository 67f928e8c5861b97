"""Every setting: its type, default, range and meaning, and which of five sources wins.

Pure: the sources (flags, environment, stored rows, the conf file) come in as mappings.
"""

import math
from typing import NamedTuple

from queued.core.errors import ConfigError, NotFoundError, UsageError
from queued.core.suggestions import did_you_mean, shorten
from queued.core.times import parse_duration

Value = int | float | str | bool


class Settings(NamedTuple):
    """The settings in force, with the built-in defaults. Durations in seconds, sizes in bytes."""

    workers: int = 4
    default_max_retries: int = 3
    backoff_base: float = 2.0
    backoff_max: float = 3600.0
    backoff_jitter: float = 0.0
    default_timeout: float = 0.0
    kill_grace: float = 10.0
    shutdown_grace: float = 30.0
    output_limit: int = 1_048_576
    retention_completed: float = 2_592_000.0
    retention_dead: float = 0.0
    retention_cancelled: float = 2_592_000.0
    environment: str = "inherit"
    worker_poll_interval: float = 1.0
    db_path: str = ""
    log_level: str = "info"
    log_format: str = "auto"
    log_output: bool = False


class Setting(NamedTuple):
    """What one setting means and takes. `stored`: whether `config set` may hold it."""

    key: str
    kind: type
    meaning: str
    minimum: float = -math.inf
    maximum: float = math.inf
    unit: str = ""
    choices: tuple[str, ...] = ()
    stored: bool = True


_YEAR_S = 31_536_000

SETTINGS = {
    setting.key: setting
    for setting in (
        Setting("workers", int, "how many jobs run at the same time", 1, 1024),
        Setting(
            "default_max_retries",
            int,
            "failed runs until a job is dead, where the job does not say",
            0,
            1_000_000,
        ),
        Setting("backoff_base", float, "a retry waits backoff_base ** attempts seconds", 1, 1e300),
        Setting("backoff_max", float, "the longest wait before a retry", 0, _YEAR_S, "s"),
        Setting(
            "backoff_jitter",
            float,
            "spreads the wait before a retry by plus or minus this fraction",
            0,
            1,
        ),
        Setting(
            "default_timeout", float, "how long a run may take (0: no limit)", 0, 100 * _YEAR_S, "s"
        ),
        Setting("kill_grace", float, "from TERM to KILL for what must end", 0, 86_400, "s"),
        Setting(
            "shutdown_grace", float, "how long running jobs may finish at a stop", 0, _YEAR_S, "s"
        ),
        Setting(
            "output_limit",
            int,
            "how much of each output stream is kept, as head and tail",
            0,
            1_073_741_824,
            "bytes",
        ),
        Setting(
            "retention_completed",
            float,
            "how long completed jobs are kept (0: for ever)",
            0,
            100 * _YEAR_S,
            "s",
        ),
        Setting(
            "retention_dead",
            float,
            "how long dead jobs are kept (0: for ever)",
            0,
            100 * _YEAR_S,
            "s",
        ),
        Setting(
            "retention_cancelled",
            float,
            "how long cancelled jobs are kept (0: for ever)",
            0,
            100 * _YEAR_S,
            "s",
        ),
        Setting(
            "environment",
            str,
            "what commands see of the service's own environment",
            choices=("inherit", "clean"),
        ),
        Setting(
            "worker_poll_interval",
            float,
            "how often to look for work where the kernel cannot tell us",
            0.01,
            3600,
            "s",
        ),
        Setting("db_path", str, "the database file (empty: the standard place)", stored=False),
        Setting(
            "log_level",
            str,
            "the least important log lines that are written",
            choices=("debug", "info", "warning", "error"),
            stored=False,
        ),
        Setting(
            "log_format",
            str,
            "JSON lines, or text for people (auto: text on a terminal)",
            choices=("auto", "json", "console"),
            stored=False,
        ),
        Setting("log_output", bool, "whether what commands print is logged, line by line"),
    )
}

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
SPELLINGS = {"max_retries": "default_max_retries"}


class Source(NamedTuple):
    """A value and where it comes from: flag, environment, stored, file or default."""

    value: Value
    origin: str


def canonical(key: str) -> str:
    """The key that `key` is a spelling of. Raises NotFoundError and names the nearest."""
    name = key.replace("-", "_")
    name = SPELLINGS.get(name, name)
    if name not in SETTINGS:
        hint = did_you_mean(name, SETTINGS)
        msg = f"unknown setting {shorten(key)}{hint} (see: queuectl config list)"
        raise NotFoundError(msg)
    return name


def variable(key: str, environment: dict[str, str]) -> str | None:
    """The variable of the environment that gives a setting; None if none does."""
    short = ("QUEUECTL_DB",) if key == "db_path" else ()
    return next((n for n in (*short, f"QUEUECTL_{key.upper()}") if n in environment), None)


def default(key: str) -> Value:
    """The built-in default of a setting."""
    value: Value = Settings._field_defaults[key]
    return value


def parse(key: str, text: str) -> Value:
    """The value that `text` means for the setting `key`. Raises UsageError."""
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
    """`value` if the setting `key` takes it. Raises UsageError that names the range."""
    setting = SETTINGS[key]
    if setting.kind is str:
        good = isinstance(value, str) and (not setting.choices or value in setting.choices)
        good = good and "\0" not in str(value)
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
    return float(value) if setting.kind is float else value


def _wrong(key: str, value: object) -> UsageError:
    return UsageError(f"{key} takes {expected(key)}, not {shorten(value)}")


def expected(key: str) -> str:
    """What the setting `key` takes, in words."""
    setting = SETTINGS[key]
    if setting.choices:
        return "one of " + ", ".join(setting.choices)
    if setting.kind is bool:
        return "true or false"
    if setting.kind is str:
        return "text"
    noun = "a whole number" if setting.kind is int else "a number"
    unit = {"s": " of seconds", "": ""}.get(setting.unit, f" of {setting.unit}")
    return f"{noun}{unit} from {setting.minimum:.12g} to {setting.maximum:.12g}"


def resolve(
    *,
    flags: dict[str, Value],
    environment: dict[str, str],
    stored: dict[str, str],
    file: dict[str, Value],
) -> dict[str, Source]:
    """Each setting with the source that wins: flag, environment, stored, file, default.

    Raises ConfigError that names the variable or the row that is wrong.
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


def settings_of(sources: dict[str, Source]) -> Settings:
    """The values of `resolve` as one record."""
    values = {key: source.value for key, source in sources.items()}
    return Settings(**values)  # type: ignore[arg-type]  # each was checked by its setting


def check_file(table: dict[str, object], path: str) -> dict[str, Value]:
    """The conf file's settings by their canonical names. Raises ConfigError that names the file."""
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
            known[name] = check(name, value)
        except UsageError as error:
            msg = f"{path}: {error}"
            raise ConfigError(msg) from None
        if name == "db_path" and value and not str(value).startswith(("/", "~")):
            msg = f"{path}: db_path takes an absolute path, not {shorten(value)}"
            raise ConfigError(msg)
    return known
