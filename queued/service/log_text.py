"""Log lines as text for people, which fit a terminal; the lines of JSON have all fields."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from queued.core import times

_WIDTH = 80  # where the output is no terminal
_LEVELS = {"warning": "warn"}
_COLORS = {"critical": "\x1b[31m", "error": "\x1b[31m", "warning": "\x1b[33m"}
_REASONS = ("error", "reason", "cause", "action", "line")  # shown without their names
_NOT_SHOWN = {
    "ts", "level", "event", "instance", "role", "pid", "exception",
    "job", "queue", "attempt", *_REASONS,
}  # fmt: skip


def text(fields: Mapping[str, Any]) -> str:
    """Returns the line of an event: local time, level, event, job, reason, then what else fits.

    The text of a failed run is cut, because its job has it. Text that tells an operator the next
    step is never cut. A traceback follows on lines of its own.
    """
    head = f"{times.local_clock(times.parse_when(fields['ts']))} {_level(fields)} {fields['event']}"
    line = " ".join((f"{head:<30}", *_subject(fields)))
    width = _width()
    if "outcome" in fields:
        line = f"{line} {_end_of_run(fields)}"
        line = line if len(line) <= width else line[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"
    else:
        line = _filled(line, fields, width)
    trace = fields.get("exception")
    return _colored(line.rstrip(), fields["level"]) + (f"\n{trace}" if trace else "")


def _level(fields: Mapping[str, Any]) -> str:
    level = fields["level"]
    return f"{_LEVELS.get(level, level):<5}"


def _subject(fields: Mapping[str, Any]) -> list[str]:
    return [str(fields[name]) for name in ("job", *_REASONS) if _shown(name, fields)]


def _shown(name: str, fields: Mapping[str, Any]) -> bool:
    if name == "error" and "outcome" in fields:  # `_end_of_run` shows it
        return False
    return fields.get(name) is not None


def _end_of_run(fields: Mapping[str, Any]) -> str:
    if fields["error"] is None:
        return f"{fields['ran_ms'] / 1000:.1f}s  {fields['command']}"
    return f"{fields['attempts']}/{fields['max_retries']} {fields['error']}"


def _filled(line: str, fields: Mapping[str, Any], width: int) -> str:
    """Appends the other fields, until one does not fit."""
    for name, value in fields.items():
        if name in _NOT_SHOWN or value is None:
            continue
        longer = f"{line} {name}={value}"
        if len(longer) > width:
            break
        line = longer
    return line


def _width() -> int:
    try:
        return os.get_terminal_size(1).columns or _WIDTH
    except OSError:
        return _WIDTH


def _colored(line: str, level: str) -> str:
    color = _COLORS.get(level)
    if color is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return line
    return f"{color}{line}\x1b[0m"
