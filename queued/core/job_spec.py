"""The fields of a job that a user can give: type, range and meaning of each, and the checks.

A payload is a decoded JSON object. Errors name the field, the values that it takes, and the value
that was given.
"""

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from queued.core import labels
from queued.core.errors import UsageError
from queued.core.model import NewJob
from queued.core.settings import MAX_HOOK_BYTES
from queued.core.suggestions import did_you_mean, shorten
from queued.core.times import parse_duration, parse_when

if TYPE_CHECKING:
    from queued.core.job_options import JobOptions

Given = TypeVar("Given")
Parsed = TypeVar("Parsed")

MAX_COMMAND_BYTES = 131_071  # the kernel's limit for one argument of a program, less its NUL
MAX_ENV_BYTES = 65_536
MAX_ID = 64
_YEAR_S = 31_536_000
_EXAMPLE = '{"command": "sleep 2"}'

READ_ONLY = frozenset(
    {
        *("state", "attempts", "runs", "next_run_at", "created_at", "updated_at"),
        *("last_error", "seq", "token"),
    }
)


class Field(NamedTuple):
    """One field of a payload. `check` returns the value to store or raises UsageError."""

    name: str
    check: Callable[[str, object], object]
    meaning: str
    option: bool = True  # kept in the job's options, not in a column of its own


def new_job(payload: object) -> NewJob:
    """Returns the job that `payload` describes. Raises UsageError."""
    if not isinstance(payload, dict):
        msg = f"a job is a JSON object such as {_EXAMPLE}, not {_json_type(payload)}"
        raise UsageError(msg)
    for name in payload:
        _must_be_known(name)
    if payload.get("command") is None:
        msg = f"a job needs a command: {_EXAMPLE}"
        raise UsageError(msg)
    if payload.get("run_at") is not None and payload.get("delay") is not None:
        msg = "a job takes run_at or delay, not both"
        raise UsageError(msg)
    values = {
        name: FIELDS[name].check(name, value)
        for name, value in payload.items()
        if value is not None
    }
    options = {name: value for name, value in values.items() if FIELDS[name].option}
    columns = {_COLUMNS.get(name, name): values[name] for name in values.keys() - options.keys()}
    return NewJob(
        **columns,  # type: ignore[arg-type]  # each was checked by its field
        options=options_text(options),
    )


def options_text(options: dict[str, object]) -> str:
    """Returns checked options as they are stored."""
    if not options:
        return "{}"
    import json  # 1.5 ms of queuectl's start, and most jobs have no options

    return json.dumps(options, sort_keys=True, ensure_ascii=False)


def stored_options(text: str) -> "JobOptions":
    """Decodes the options of a stored job. Raises ValueError if they are not valid options."""
    from queued.core.job_options import NO_OPTIONS, JobOptions

    if text == "{}":
        return NO_OPTIONS
    import json

    given = json.loads(text)
    try:
        checked = {name: FIELDS[name].check(name, value) for name, value in given.items()}
        return JobOptions(**{name: _frozen(value) for name, value in checked.items()})
    except (AttributeError, KeyError, TypeError, UsageError) as error:
        msg = f"queued did not store these options: {error}"
        raise ValueError(msg) from None


def _frozen(value: Any) -> Any:  # noqa: ANN401 - each option has its own type
    return tuple(value) if isinstance(value, list) else value


def _must_be_known(name: str) -> None:
    if name in FIELDS:
        return
    if name in READ_ONLY:
        msg = f"{shorten(name)} cannot be set"
    else:
        hint = did_you_mean(name, FIELDS) or f"; the fields are {', '.join(FIELDS)}"
        msg = f"unknown field {shorten(name, 30)}{hint}"
    raise UsageError(msg)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def _refusal(name: str, takes: str, value: object) -> UsageError:
    import json

    try:
        shown = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        return UsageError(f"{name} takes {takes}, not {shorten(value)}")
    return UsageError(
        f"{name} takes {takes}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"
    )


def _command(name: str, value: object) -> str:
    if isinstance(value, str) and not value.strip():
        msg = "the command is empty"
        raise UsageError(msg)
    return _line_for_sh(name, value, "the command", MAX_COMMAND_BYTES)


def _hook(name: str, value: object) -> str:
    return _line_for_sh(name, value, name, MAX_HOOK_BYTES)


def _line_for_sh(name: str, value: object, noun: str, most_bytes: int) -> str:
    if not isinstance(value, str):
        raise _refusal(name, "text", value)
    if "\0" in value:
        msg = f"{noun} contains a NUL character"
        raise UsageError(msg)
    size = len(_encoded(name, value))
    if size > most_bytes:
        msg = f"{noun} has {size} bytes, more than {most_bytes}; put it into a script"
        raise UsageError(msg)
    return value


def _encoded(name: str, value: str) -> bytes:
    """Returns UTF-8. Raises UsageError for bytes of a command line that were not valid UTF-8."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        msg = f"{name} is not valid UTF-8"
        raise UsageError(msg) from None


def word(name: str, value: object) -> str:
    """Returns an id or the name of a queue: 1 to 64 printable characters, no space, no slash."""
    takes = f"1 to {MAX_ID} printable characters without spaces or slashes"
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID:
        raise _refusal(name, takes, value)
    if "/" in value or " " in value or not value.isprintable():
        raise _refusal(name, takes, value)
    if value.startswith("-"):
        msg = f"{name} must not begin with a dash: {value!r}"
        raise UsageError(msg)
    _encoded(name, value)
    return value


def _job_id(name: str, value: object) -> str:
    text = word(name, value)
    if text.startswith("@"):
        msg = f"{name} must not begin with @, as in @last: {text!r}"
        raise UsageError(msg)
    return text


def _whole(minimum: int, maximum: int) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise _refusal(name, f"a whole number from {minimum} to {maximum}", value)
        return value

    return check


def _number(minimum: float, maximum: float, unit: str = "") -> Callable[[str, object], float]:
    def check(name: str, value: object) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not minimum <= value <= maximum:  # type: ignore[operator]
            raise _refusal(name, f"a number{unit} from {minimum:.12g} to {maximum:.12g}", value)
        return float(value)  # type: ignore[arg-type]

    return check


def _seconds(maximum: float) -> Callable[[str, object], float]:
    number = _number(0, maximum, " of seconds")

    def check(name: str, value: object) -> float:
        return number(
            name, _parse_field(name, parse_duration, value) if isinstance(value, str) else value
        )

    return check


def _delay(name: str, value: object) -> int:
    return math.ceil(_seconds(100 * _YEAR_S)(name, value) * 1000)


def _when(name: str, value: object) -> int:
    return _parse_field(name, parse_when, value)


def _parse_field(name: str, parse: Callable[[Given], Parsed], value: Given) -> Parsed:
    """Returns the result of `parse`; the message of its UsageError begins with the field."""
    try:
        return parse(value)
    except UsageError as error:
        msg = f"{name}: {error}"
        raise UsageError(msg) from None


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refusal(name, "true or false", value)
    return value


def _exit_codes(name: str, value: object) -> list[int]:
    takes = "a list of exit codes from 1 to 255"
    if not isinstance(value, list):
        raise _refusal(name, takes, value)
    for code in value:
        if type(code) is not int or not 1 <= code <= 255:
            raise _refusal(name, takes, value)
    return sorted(set(value))


def _env(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _refusal(name, "an object of names and texts", value)
    size = 0
    for key, text in value.items():
        if not key or "=" in key or "\0" in key:
            raise _refusal(name, "names without '=' or NUL", key)
        one = f"{name}.{shorten(key)}"
        if not isinstance(text, str) or "\0" in text:
            raise _refusal(one, "text without NUL", text)
        if key.startswith("QUEUED_") and not key.startswith("QUEUED_PARENT_"):
            msg = f"{name}: {shorten(key)} cannot be set; names with QUEUED_ are reserved"
            raise UsageError(msg)
        size += len(_encoded(name, key)) + len(_encoded(one, text)) + 2
    if size > MAX_ENV_BYTES:
        msg = f"{name} has {size} bytes, more than {MAX_ENV_BYTES}"
        raise UsageError(msg)
    return dict(value)


def _directory(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise _refusal(name, "an absolute path", value)
    if len(_encoded(name, value)) > 4095:
        raise _refusal(name, "a path of at most 4095 bytes", value)
    return value


def _umask(name: str, value: object) -> str:
    good = isinstance(value, str) and 1 <= len(value) <= 4 and all(c in "01234567" for c in value)
    if not good or int(str(value), 8) > 0o777:
        raise _refusal(name, 'an octal number such as "022"', value)
    return str(value)


def _limits(name: str, value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise _refusal(name, 'an object such as {"memory": "512M", "cpu": 60}', value)
    for key in value:
        if key not in LIMITS:
            msg = f"{name}: unknown limit {shorten(key)}{did_you_mean(key, LIMITS)}"
            raise UsageError(msg)
    return {key: LIMITS[key](f"{name}.{key}", given) for key, given in value.items()}


_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = r"[0-9]{1,16}[KMGTkmgt]"


def _memory(name: str, value: object) -> int:
    if isinstance(value, str) and re.fullmatch(_SIZE, value):
        value = int(value[:-1]) * _SIZES[value[-1].upper()]
    if type(value) is not int or not 1 << 20 <= value <= 1 << 50:
        raise _refusal(name, 'bytes, or text such as "512M", from 1M to 1024T', value)
    return value


LIMITS: dict[str, Callable[[str, object], int]] = {
    "memory": _memory,
    "cpu": _whole(1, 1_000_000_000),
    "files": _whole(3, 1_048_576),
    "processes": _whole(1, 4_194_304),
}

FIELDS = {
    field.name: field
    for field in (
        Field("id", _job_id, "the job's id; generated if not given", option=False),
        Field("command", _command, "the command that `sh -c` runs", option=False),
        Field("queue", word, "the queue (default)", option=False),
        Field("priority", _whole(-1_000_000, 1_000_000), "higher starts first (0)", option=False),
        Field("run_at", _when, "not before this time", option=False),
        Field("delay", _delay, "not before this duration from now", option=False),
        Field("max_retries", _whole(0, 1_000_000), "runs in all if each fails", option=False),
        Field("requires", labels.required, "labels that its service must have", option=False),
        Field("backoff_base", _number(1, 1e300), "a retry waits base ** attempts seconds"),
        Field("backoff_max", _seconds(_YEAR_S), "the longest wait before a retry"),
        Field("backoff_jitter", _number(0, 1), "changes the wait at random by this fraction"),
        Field("timeout", _seconds(100 * _YEAR_S), "how long a run may take (0: no limit)"),
        Field("kill_grace", _seconds(86_400), "from TERM to KILL"),
        Field("no_retry_on", _exit_codes, "exit codes that make the job dead at once"),
        Field("defer_on", _exit_codes, "exit codes that do not count as failed"),
        Field("defer_delay", _seconds(_YEAR_S), "the first wait after such an exit code"),
        Field("on_dead", _hook, "a command to enqueue if the job becomes dead (empty: none)"),
        Field("on_completed", _hook, "a command to enqueue if the job completes (empty: none)"),
        Field("leave_children", _flag, "processes that outlive the command stay alive"),
        Field("split", _flag, "stdout and stderr are kept apart"),
        Field("output_limit", _whole(0, 1_073_741_824), "bytes of each stream that are kept"),
        Field("env", _env, "variables added to the environment"),
        Field("cwd", _directory, "the directory to run in"),
        Field("umask", _umask, "the file mode mask"),
        Field("nice", _whole(-20, 19), "the niceness"),
        Field("limits", _limits, "resource limits: memory, cpu, files, processes"),
    )
}

_COLUMNS = {"run_at": "run_at_ms", "delay": "delay_ms"}
