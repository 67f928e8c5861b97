"""Prints results and messages, as text or as JSON.

Control characters of commands, output and names are escaped, so that none reaches a terminal.
"""

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress

from queued.core.errors import Exit

# C1 controls, and characters that hide or reorder text; JSON itself escapes only C0 controls.
_INVISIBLE = "[\x80-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
LAYOUT = "\n\t"  # control characters that are shown as they are in a text of several lines
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_")
_COLOR = "(\x1b\\[[0-9;]*m)"


def print_err(line: str) -> None:
    """Prints a line that is not part of the result to standard error."""
    _write_err(f"{escaped(line, LAYOUT)}\n")


def progress(line: str) -> None:
    """Shows on a terminal how far the command is, in place of the previous such line."""
    if sys.stderr is not None and sys.stderr.isatty():
        _write_err(f"\r\x1b[K{line}")


def _write_err(text: str) -> None:
    """Writes to standard error; an error there changes neither the result nor the exit code."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def print_out(text: str) -> None:
    """Prints one or more lines of the result to standard output.

    On a terminal control characters, except for colours, are escaped.
    """
    if not text.isprintable() and terminal_size() is not None:
        # The odd pieces of the split are the colours.
        pieces = re.split(_COLOR, text)
        pieces[::2] = [escaped(piece, LAYOUT) for piece in pieces[::2]]
        text = "".join(pieces)
    sys.stdout.write(f"{text}\n")


def shell_line(words: Iterable[str]) -> str:
    """Returns words as a line for sh, with quotes where they are needed."""
    words = list(words)
    if all(word and _PLAIN.issuperset(word) for word in words):
        return " ".join(words)
    import shlex

    return shlex.join(words)


def print_json(value: object) -> None:
    """Prints one JSON value as the result."""
    print_out(json_text(value, indent=2))


def print_change(told: str, nothing: str | None, record: object, *, as_json: bool) -> int:
    """Prints what a command has changed, or on standard error why there was `nothing` to change.

    With `as_json` it prints `record` instead. Returns Exit.DONE: the queue is as it was asked for.
    """
    if as_json:
        print_json(record)
    elif nothing:
        print_err(f"queuectl: {nothing}")
    else:
        print_out(told)
    return Exit.DONE


def json_text(value: object, indent: int | None = None) -> str:
    """Returns JSON in characters that the encoding of standard output has."""
    import json

    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    return text if text.isascii() else re.sub(_INVISIBLE, _json_escape, text)


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def print_json_array(values: Iterable[object]) -> None:
    """Prints one JSON array, element by element, so that memory does not grow with its length."""
    opened = False
    for value in values:
        sys.stdout.write((",\n" if opened else "[\n") + json_text(value))
        opened = True
    sys.stdout.write("\n]\n" if opened else "[]\n")


def terminal_size() -> os.terminal_size | None:
    """Returns the size of the terminal on standard output; None if that is no terminal."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else None
    except OSError:
        return None


def escaped(text: str, kept: str = "") -> str:
    r"""Returns `text` with control characters, also line breaks, written as `\n` or `\x1b`.

    The characters of `kept` are not changed.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text
    )


def format_bytes(count: int) -> str:
    """Returns a number of bytes for people: `0B`, `999B`, `1.5K`, `12M`."""
    value, unit = float(count), "B"
    for unit in "BKMGT":  # noqa: B007  the unit at the end of the loop is used
        if value < 999.5:
            break
        value /= 1024
    return f"{value:.0f}{unit}" if unit == "B" or value >= 10 else f"{value:.1f}{unit}"
