"""Builds the payload of a job from words and options; `job_spec.new_job` checks it."""

import os
import re
from collections.abc import Callable, Sequence

from queued.core import labels
from queued.core.errors import UsageError
from queued.core.field_checks import MAX_STDIN_BYTES
from queued.core.model import CONDITIONS
from queued.core.suggestions import shorten
from queued.ctl.arguments import Arguments
from queued.ctl.render import shell_line
from queued.store.paths import current_directory

_TEXTS = (
    *("id", "queue", "delay", "backoff_max", "defer_delay", "timeout", "kill_grace", "umask"),
    *("on_dead", "on_completed", "unique_key", "unique_while", "unique_for"),
    *("expires_in", "warn_signal", "note", "array", "key", "key_rate", "on_conflict"),
)
_TIMES = ("run_at", "expires_at", "deadline")
_ALIASES = {"--in": "delay", "--at": "run_at"}
_NUMBERS = (
    *("priority", "slots", "key_limit", "max_retries", "backoff_base", "backoff_jitter"),
    *("output_limit", "nice"),
)
_CODES = ("no_retry_on", "cancel_on", "defer_on")
_FLAGS = ("leave_children", "split", "hold")
_SINCE_1970 = r"[0-9]{9,11}(\.[0-9]+)?"  # seconds; a date has eight digits


def payload(arguments: Arguments) -> dict[str, object]:
    """Returns the payload that JSON would give. Raises UsageError for a malformed option."""
    return {"command": _command(arguments.texts("COMMAND")), **fields(arguments)}


def fields(arguments: Arguments) -> dict[str, object]:
    """Returns the fields of a payload that options give. Raises UsageError for a malformed one."""
    given: dict[str, object] = {}
    if arguments.flag("--here"):
        given |= {"cwd": current_directory(), "umask": _umask()}
    given |= {name: text for name in _TEXTS if (text := _text(arguments, name)) is not None}
    given |= {name: _number(t) for name in _NUMBERS if (t := _text(arguments, name)) is not None}
    given |= {name: _codes(t) for name in _CODES if (t := _text(arguments, name)) is not None}
    given |= {name: _time(text) for name in _TIMES if (text := _text(arguments, name)) is not None}
    for option, name in _ALIASES.items():
        if (text := arguments.text(option)) is not None:
            if name in given:
                msg = f"{option} is {_option(name)}; give one of them"
                raise UsageError(msg)
            given[name] = _time(text) if name in _TIMES else text
    given |= {name: True for name in _FLAGS if arguments.flag(_option(name))}
    if (cwd := arguments.text("--cwd")) is not None:
        given["cwd"] = os.path.join(current_directory(), cwd) if not os.path.isabs(cwd) else cwd
    if required := _required(arguments):
        given["requires"] = required
    if (file := arguments.text("--stdin")) is not None:
        given["stdin"] = _read(file)
    for option, name, read in _REPEATED:
        if texts := arguments.texts(option):
            given[name] = read(texts)
    return given


def _command(words: tuple[str, ...]) -> str:
    """Returns a line for sh: one word as it is, several as the arguments of one program."""
    return words[0] if len(words) == 1 else shell_line(words)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(arguments: Arguments, name: str) -> str | None:
    return arguments.text(_option(name))


def _number(text: str) -> int | float | str:
    """Returns the number that JSON would read, or the text unchanged, which is refused later."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    try:
        return float(text) if text.isascii() and "_" not in text else text
    except ValueError:
        return text


def _time(text: str) -> int | float | str:
    return _number(text) if re.fullmatch(_SINCE_1970, text) else text


def _codes(text: str) -> list[object]:
    return [_number(code.strip()) for code in text.split(",")]


def _required(arguments: Arguments) -> list[str]:
    words, host = arguments.text("--requires"), arguments.text("--host")
    required = [] if words is None else [word.strip() for word in words.split(",")]
    return required if host is None else [*required, labels.of_host(host)]


def _umask() -> str:
    """Returns the file mode mask. The kernel reports it only when it is set."""
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:03o}"


def _variables(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and name not in os.environ:
            msg = f"--env {shorten(name)}: there is no such variable here; use NAME=VALUE"
            raise UsageError(msg)
        found[name] = value if equals else os.environ[name]
    return found


def _read(path: str) -> bytes:
    """Returns the content of a file, or of standard input; not much more than may be kept."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            return file.read(MAX_STDIN_BYTES + 1)
    except OSError as error:
        msg = f"--stdin {shorten(path)}: {error.strerror}"
        raise UsageError(msg) from None


def _job_labels(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            msg = f"--label takes NAME=VALUE, not {shorten(text)}"
            raise UsageError(msg)
    return dict(text.split("=", 1) for text in texts)


def _limits(texts: Sequence[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            msg = f"--limit takes NAME=VALUE, not {shorten(text)}"
            raise UsageError(msg)
        found[name] = _number(value)
    return found


_REPEATED: tuple[tuple[str, str, Callable[[Sequence[str]], object]], ...] = (
    ("--label", "labels", _job_labels),
    ("--env", "env", _variables),
    ("--limit", "limits", _limits),
    *((_option(name), name, list) for name in (*CONDITIONS, "after_index")),
)
