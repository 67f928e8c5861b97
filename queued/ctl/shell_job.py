"""Makes a job's payload of words of the shell and of options; `payload.new_job` checks it."""

import os
import re

from queued.core.errors import UsageError
from queued.core.suggestions import brief
from queued.ctl.arguments import Arguments

_TEXTS = ("id", "queue", "delay", "backoff_max", "timeout", "kill_grace", "umask")
_NUMBERS = ("priority", "max_retries", "backoff_base", "backoff_jitter", "output_limit", "nice")
_CODES = ("no_retry_on", "defer_on")
_FLAGS = ("leave_children", "split")
_SINCE_1970 = r"[0-9]{9,11}(\.[0-9]+)?"  # seconds; a date has eight digits


def payload(arguments: Arguments) -> dict[str, object]:
    """The payload as JSON would give it. Raises UsageError for what has no such form."""
    given: dict[str, object] = {"command": _command(arguments.texts("WORDS"))}
    if arguments.flag("--here"):
        given |= {"cwd": _directory(), "umask": _umask()}
    given |= {name: text for name in _TEXTS if (text := _text(arguments, name)) is not None}
    given |= {name: _number(t) for name in _NUMBERS if (t := _text(arguments, name)) is not None}
    given |= {name: _codes(t) for name in _CODES if (t := _text(arguments, name)) is not None}
    if (run_at := _text(arguments, "run_at")) is not None:
        given["run_at"] = _number(run_at) if re.fullmatch(_SINCE_1970, run_at) else run_at
    given |= {name: True for name in _FLAGS if arguments.flag(_option(name))}
    if (cwd := arguments.text("--cwd")) is not None:
        given["cwd"] = os.path.join(_directory(), cwd) if not os.path.isabs(cwd) else cwd
    if variables := arguments.texts("--env"):
        given["env"] = dict(_variable(text) for text in variables)
    if limits := arguments.texts("--limit"):
        given["limits"] = dict(_limit(text) for text in limits)
    return given


def _command(words: tuple[str, ...]) -> str:
    """One word is a shell command; several are the arguments of a program."""
    if len(words) == 1:
        return words[0]
    import shlex

    return shlex.join(words)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(arguments: Arguments, name: str) -> str | None:
    return arguments.text(_option(name))


def _number(text: str) -> int | float | str:
    """What JSON would read; text that is no number stays text, and is refused as that."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    try:
        return float(text) if text.isascii() and "_" not in text else text
    except ValueError:
        return text


def _codes(text: str) -> list[object]:
    return [_number(code.strip()) for code in text.split(",")]


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        msg = "the directory that you are in is gone"
        raise UsageError(msg) from None


def _umask() -> str:
    """The mask can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:03o}"


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        msg = f"--env {brief(name)}: there is no such variable here; give NAME=VALUE"
        raise UsageError(msg)
    return name, os.environ[name]


def _limit(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        msg = f"--limit takes NAME=VALUE, not {brief(text)}"
        raise UsageError(msg)
    return name, _number(value)
