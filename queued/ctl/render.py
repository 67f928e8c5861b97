"""How results look: JSON for programs, tables of 80 columns (or the terminal's) for people.

Nothing that a command or its output contains can make a terminal obey: it is shown escaped.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

WIDTH = 80
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
LEAST = 12  # columns that are worth cutting to


class Column(NamedTuple):
    """A column of a table; the last one takes the room that is left, whatever its width."""

    title: str
    width: int
    right: bool = False


def say(line: str) -> None:
    """Tells the user something that is not the result."""
    _tell(f"{line}\n")


def progress(line: str) -> None:
    """Shows on a terminal how far we are, in place of what was shown before; else nothing."""
    if sys.stderr is not None and sys.stderr.isatty():
        _tell(f"\r\x1b[K{line}")


def _tell(text: str) -> None:
    """Where nobody can be told, what is done and its exit code stay what they are."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def put(text: str) -> None:
    """Prints a line, or several, of the result."""
    sys.stdout.write(f"{text}\n")


def put_json(value: object) -> None:
    """Prints one JSON value as the result."""
    put(json_text(value, indent=2))


def json_text(value: object, indent: int | None = None) -> str:
    """JSON in the characters that standard output can carry."""
    import json

    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.dumps(value, ensure_ascii=plain, indent=indent)


def put_array(values: Iterable[object]) -> None:
    """Prints one JSON array element by element, so that any number of them needs no memory."""
    opened = False
    for value in values:
        sys.stdout.write((",\n" if opened else "[\n") + json_text(value))
        opened = True
    sys.stdout.write("\n]\n" if opened else "[]\n")


def screen() -> os.terminal_size | None:
    """Columns and lines of the terminal that standard output is; None if it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else None
    except OSError:
        return None


def width_here() -> int:
    """How wide a table may be."""
    size = screen()
    return max(size.columns, 40) if size and size.columns else WIDTH


def escaped(text: str) -> str:
    r"""`text` with control characters, line breaks among them, shown as `\n` or `\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def columns_of(text: str) -> int:
    """The columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth

    return max(int(wcswidth(text)), 0)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns; an ellipsis stands for what is left out."""
    if columns_of(text) <= width:
        return text
    end = min(len(text), width)
    while end > 0 and columns_of(text[:end]) > width - 1:
        end -= 1
    return text[:end] + ELLIPSIS


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken anywhere, nothing left out."""
    lines, start, taken = [], 0, 0
    for index, character in enumerate(text):
        needs = columns_of(character)
        if taken + needs > width:
            lines.append(text[start:index])
            start, taken = index, 0
        taken += needs
    return [*lines, text[start:]]


def heading(columns: Sequence[Column], width: int) -> str:
    """The titles of a table, as a row has its cells."""
    return "\n".join(row(columns, [column.title for column in columns], width))


def row(columns: Sequence[Column], cells: Sequence[str], width: int) -> Iterator[str]:
    """The lines of one row. The first cell, an id, is never cut: too wide, it has its own line.

    Only the last cell is cut, to the room that the others leave, or to a line of its own.
    """
    first, *others = cells
    if columns_of(first) > columns[0].width:
        yield first
        first = ""
    line = _padded(first, columns[0])
    for column, cell in zip(columns[1:-1], others[:-1], strict=True):
        line += "  " + _padded(cell, column)
    last, room = escaped(others[-1]), width - columns_of(line) - 2
    if room >= LEAST or columns_of(last) <= room:
        yield _joined([line, cut(last, room)])
    else:
        yield line.rstrip()
        yield f"  {cut(last, width - 2)}"


def pairs(named: Iterable[tuple[str, str]], width: int, indent: str = "") -> Iterator[str]:
    """Lines of a name and a value; a long value goes on below itself."""
    named = list(named)
    margin = len(indent) + max(len(name) for name, _ in named) + 2
    for name, value in named:
        head, *rest = wrapped(escaped(value), width - margin)
        yield f"{indent + name:<{margin}}{head}".rstrip()
        yield from (" " * margin + line for line in rest)


def size(count: int) -> str:
    """Bytes for people: `0B`, `999B`, `1.5K`, `12M`."""
    value, unit = float(count), "B"
    for unit in "BKMGT":  # noqa: B007  the unit at which the loop ended is wanted
        if value < 999.5:
            break
        value /= 1024
    return f"{value:.0f}{unit}" if unit == "B" or value >= 10 else f"{value:.1f}{unit}"


def _padded(text: str, column: Column) -> str:
    blanks = " " * (column.width - columns_of(text))
    return blanks + text if column.right else text + blanks


def _joined(cells: Iterable[str]) -> str:
    return "  ".join(cells).rstrip()
