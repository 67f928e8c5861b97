"""The checks of the fields of a job: each returns the value to store, or raises UsageError.

Errors name the field, the values that it takes, and the value that was given.
"""

import math
import re
from collections.abc import Callable
from typing import TypeVar

from queued.core.errors import UsageError
from queued.core.settings import MAX_HOOK_BYTES
from queued.core.suggestions import did_you_mean, shorten
from queued.core.times import iso, parse_duration, parse_when

Given = TypeVar("Given")
Parsed = TypeVar("Parsed")

MAX_COMMAND_BYTES = 131_071  # the kernel's limit for one argument of a program, less its NUL
MAX_ENV_BYTES = 65_536
MAX_ID = 64
MAX_STDIN_BYTES = 1_048_576
MAX_KEY = 200
MAX_KEY_LIMIT = 1000
MAX_LABELS = 32
MAX_NOTE = 1000
YEAR_S = 31_536_000
# Of hooks, of the jobs of schedules, and of those of arrays.
_DESCRIBING = ("QUEUED_PARENT_", "QUEUED_SCHEDULE", "QUEUED_ARRAY_")


def json_type(value: object) -> str:
    """Returns the JSON type of a value, with its article."""
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")


def refusal(name: str, takes: str, value: object) -> UsageError:
    """Returns the error that says what a field takes, and what was given."""
    import json

    try:
        shown = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        return UsageError(f"{name} takes {takes}, not {shorten(value)}")
    return UsageError(
        f"{name} takes {takes}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"
    )


def command(name: str, value: object) -> str:
    """Returns a line for sh that is not empty."""
    if isinstance(value, str) and not value.strip():
        msg = "the command is empty"
        raise UsageError(msg)
    return _line_for_sh(name, value, "the command", MAX_COMMAND_BYTES)


def hook(name: str, value: object) -> str:
    """Returns a line for sh, or an empty one."""
    return _line_for_sh(name, value, name, MAX_HOOK_BYTES)


def _line_for_sh(name: str, value: object, noun: str, most_bytes: int) -> str:
    if not isinstance(value, str):
        raise refusal(name, "text", value)
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
        raise refusal(name, takes, value)
    if "/" in value or " " in value or not value.isprintable():
        raise refusal(name, takes, value)
    if value.startswith("-"):
        msg = f"{name} must not begin with a dash: {value!r}"
        raise UsageError(msg)
    _encoded(name, value)
    return value


def queue(name: str, value: object) -> str:
    """Returns the name of a queue that may be new: a word that is no list and no pattern."""
    text = word(name, value)
    if set(text) & set(",*"):
        msg = f"{name} must not contain a comma or *: {text!r}"
        raise UsageError(msg)
    return text


def job_id(name: str, value: object) -> str:
    """Returns an id that a user gives to a job."""
    text = word(name, value)
    if text.startswith("@"):
        msg = f"{name} must not begin with @, as in @last: {text!r}"
        raise UsageError(msg)
    return text


def key(name: str, value: object) -> str:
    """Returns a key: 1 to 200 printable characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_KEY or not value.isprintable():
        raise refusal(name, f"1 to {MAX_KEY} printable characters", value)
    _encoded(name, value)
    return value


def choice(*words: str) -> Callable[[str, object], str]:
    """Returns a check for one of some words."""

    def check(name: str, value: object) -> str:
        if value not in words:
            raise refusal(name, f"{', '.join(words[:-1])} or {words[-1]}", value)
        return str(value)

    return check


def job_ids(name: str, value: object) -> tuple[str, ...]:
    """Returns ids of other jobs, each once."""
    if not isinstance(value, list):
        raise refusal(name, "a list of ids of jobs", value)
    return tuple(dict.fromkeys(job_id(name, one) for one in value))


def whole(minimum: int, maximum: int) -> Callable[[str, object], int]:
    """Returns a check for whole numbers of a range."""

    def check(name: str, value: object) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise refusal(name, f"a whole number from {minimum} to {maximum}", value)
        return value

    return check


def number(minimum: float, maximum: float, unit: str = "") -> Callable[[str, object], float]:
    """Returns a check for numbers of a range."""

    def check(name: str, value: object) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not minimum <= value <= maximum:  # type: ignore[operator]
            raise refusal(name, f"a number{unit} from {minimum:.12g} to {maximum:.12g}", value)
        return float(value)  # type: ignore[arg-type]

    return check


def seconds(maximum: float) -> Callable[[str, object], float]:
    """Returns a check for durations from 0 on, in seconds or as people write them."""
    in_range = number(0, maximum, " of seconds")

    def check(name: str, value: object) -> float:
        return in_range(
            name, parsed(name, parse_duration, value) if isinstance(value, str) else value
        )

    return check


def delay(name: str, value: object) -> int:
    """Returns a duration in milliseconds."""
    return math.ceil(seconds(100 * YEAR_S)(name, value) * 1000)


def when(name: str, value: object) -> int:
    """Returns a point in time in milliseconds UTC."""
    return parsed(name, parse_when, value)


def moment(name: str, value: object) -> str:
    """Returns a point in time as ISO 8601 in UTC."""
    return iso(when(name, value))


def warning(name: str, value: object) -> str:
    """Returns a signal and the seconds before a time limit, such as `USR1@60`."""
    word, at, before = value.partition("@") if isinstance(value, str) else ("", "", "")
    if not at:
        raise refusal(name, 'a signal and a duration, such as "USR1@60"', value)
    return f"{signal_name(name, word)}@{seconds(YEAR_S)(name, before):.12g}"


def signal_name(name: str, value: object) -> str:
    """Returns the name of a signal without `SIG`."""
    import signal

    word = value.upper().removeprefix("SIG") if isinstance(value, str) else ""
    if f"SIG{word}" not in signal.Signals.__members__:
        raise refusal(name, "a signal such as USR1", value)
    return word


def parsed(name: str, parse: Callable[[Given], Parsed], value: Given) -> Parsed:
    """Returns the result of `parse`; the message of its UsageError begins with the field."""
    try:
        return parse(value)
    except UsageError as error:
        msg = f"{name}: {error}"
        raise UsageError(msg) from None


def flag(name: str, value: object) -> bool:
    """Returns a truth value."""
    if not isinstance(value, bool):
        raise refusal(name, "true or false", value)
    return value


def exit_codes(name: str, value: object) -> list[int]:
    """Returns exit codes that are not 0, in order."""
    takes = "a list of exit codes from 1 to 255"
    if not isinstance(value, list):
        raise refusal(name, takes, value)
    for code in value:
        if type(code) is not int or not 1 <= code <= 255:
            raise refusal(name, takes, value)
    return sorted(set(value))


def env(name: str, value: object) -> dict[str, str]:
    """Returns variables of an environment, without those that the service sets."""
    if not isinstance(value, dict):
        raise refusal(name, "an object of names and texts", value)
    size = 0
    for key, text in value.items():
        if not key or "=" in key or "\0" in key:
            raise refusal(name, "names without '=' or NUL", key)
        one = f"{name}.{shorten(key)}"
        if not isinstance(text, str) or "\0" in text:
            raise refusal(one, "text without NUL", text)
        if key.startswith("QUEUED_") and not key.startswith(_DESCRIBING):
            msg = f"{name}: {shorten(key)} cannot be set; names with QUEUED_ are reserved"
            raise UsageError(msg)
        size += len(_encoded(name, key)) + len(_encoded(one, text)) + 2
    if size > MAX_ENV_BYTES:
        msg = f"{name} has {size} bytes, more than {MAX_ENV_BYTES}"
        raise UsageError(msg)
    return dict(value)


def job_labels(name: str, value: object) -> str | None:
    """Returns the labels of a job as JSON; None if there are none."""
    if not isinstance(value, dict):
        raise refusal(name, 'an object such as {"customer": "7"}', value)
    for label, text in value.items():
        one = f"{name}.{shorten(label)}"
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", label):
            raise refusal(name, "names of 1 to 64 letters, digits, '_', '.' and '-'", label)
        if not isinstance(text, str) or len(text) > MAX_KEY or not text.isprintable():
            raise refusal(one, f"a text of at most {MAX_KEY} printable characters", text)
        _encoded(one, text)
    if len(value) > MAX_LABELS:
        msg = f"{name} has {len(value)} labels, more than {MAX_LABELS}"
        raise UsageError(msg)
    import json

    return json.dumps(value, sort_keys=True, ensure_ascii=False) if value else None


def note(name: str, value: object) -> str:
    """Returns one line of text."""
    if not isinstance(value, str) or len(value) > MAX_NOTE or not value.isprintable():
        raise refusal(name, f"a text of at most {MAX_NOTE} printable characters", value)
    _encoded(name, value)
    return value


def stdin(name: str, value: object) -> bytes:
    """Returns the standard input of a job: bytes, or a text in UTF-8."""
    if not isinstance(value, str | bytes):
        raise refusal(name, "text", value)
    content = _encoded(name, value) if isinstance(value, str) else value
    if len(content) > MAX_STDIN_BYTES:
        msg = (
            f"{name} has more than {MAX_STDIN_BYTES} bytes; give the path of a file to the command"
        )
        raise UsageError(msg)
    return content


def directory(name: str, value: object) -> str:
    """Returns an absolute path."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise refusal(name, "an absolute path", value)
    if len(_encoded(name, value)) > 4095:
        raise refusal(name, "a path of at most 4095 bytes", value)
    return value


def umask(name: str, value: object) -> str:
    """Returns a file mode mask as octal digits."""
    good = isinstance(value, str) and 1 <= len(value) <= 4 and all(c in "01234567" for c in value)
    if not good or int(str(value), 8) > 0o777:
        raise refusal(name, 'an octal number such as "022"', value)
    return str(value)


def limits(name: str, value: object) -> dict[str, int]:
    """Returns resource limits by name."""
    if not isinstance(value, dict):
        raise refusal(name, 'an object such as {"memory": "512M", "cpu": 60}', value)
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
        raise refusal(name, 'bytes, or text such as "512M", from 1M to 1024T', value)
    return value


LIMITS: dict[str, Callable[[str, object], int]] = {
    "memory": _memory,
    "cpu": whole(1, 1_000_000_000),
    "files": whole(3, 1_048_576),
    "processes": whole(1, 4_194_304),
}
