"""Tables in the width of the terminal, and the widths of texts in them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from queued.core.errors import UsageError
from queued.ctl.render import escaped, terminal_size

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
ARROW = "\N{LEFTWARDS ARROW}"
_OWN_SYMBOLS = dict.fromkeys(map(ord, (ELLIPSIS, ARROW)), "")  # one column; wcwidth loads slowly
MIN_WIDTH = 12  # the narrowest cell that is worth showing
_UNLIMITED = 1_000_000  # the width of a table that no terminal shows
_COLORS = {"processing": 36, "failed": 33, "dead": 31, "completed": 32, "cancelled": 90}
_COLORS |= {"paused": 33, "suspended": 33, "draining": 33, "full": 36}  # of queues


class Column(NamedTuple):
    """A column of a table; the last one takes the width that the others leave."""

    title: str
    width: int
    right: bool = False


def table_width() -> int:
    """Returns how wide a table may be: $COLUMNS, else the terminal's width, else without limit."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and len(columns) < 6 and int(columns) > 0:
        return max(int(columns), 40)
    size = terminal_size()
    return max(size.columns, 40) if size and size.columns else _UNLIMITED


def uses_color(when: str | None) -> bool:
    """Returns whether to colour the output for `--color WHEN`. Raises UsageError."""
    if when not in {None, "auto", "always", "never"}:
        msg = f"--color takes auto, always or never, not {when!r}"
        raise UsageError(msg)
    if when in {"always", "never"}:
        return when == "always"
    return terminal_size() is not None and not os.environ.get("NO_COLOR")


def colored(line: str, label: str, before: str = "  ") -> str:
    """Returns a line in which the word `label`, after `before`, has the colour of that state."""
    color = _COLORS.get(label)
    shown = f"{before}\x1b[{color}m{label}\x1b[m"
    return line.replace(f"{before}{label}", shown, 1) if color else line


def display_width(text: str) -> int:
    """Returns how many columns `text` takes on a terminal."""
    if text.isascii() or text.translate(_OWN_SYMBOLS).isascii():
        return len(text)
    from wcwidth import wcswidth

    return max(int(wcswidth(text)), 0)


def truncate(text: str, width: int) -> str:
    """Returns `text` in at most `width` columns; an ellipsis replaces the end that is cut off."""
    if display_width(text) <= width:
        return text
    end = min(len(text), width)
    while end > 0 and display_width(text[:end]) > width - 1:
        end -= 1
    return text[:end] + ELLIPSIS


def wrap(text: str, width: int) -> list[str]:
    """Returns `text` as lines of at most `width` columns, broken after spaces if possible."""
    lines, start, taken = [], 0, 0
    for index, character in enumerate(text):
        needs = display_width(character)
        if taken + needs > width:
            end = text.rfind(" ", start, index) + 1 or index
            lines.append(text[start:end])
            start, taken = end, display_width(text[end:index])
        taken += needs
    return [*lines, text[start:]]


def heading(columns: Sequence[Column], width: int) -> str:
    """Returns the titles of a table, aligned as `row_lines` aligns cells."""
    return "\n".join(row_lines(columns, [column.title for column in columns], width))


def widened(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int
) -> Sequence[Column]:
    """Returns the columns as wide as their cells, or unchanged if the last one lacks room then."""
    wide = [
        column._replace(
            width=max([column.width, *(display_width(escaped(row[n])) for row in rows)])
        )
        for n, column in enumerate(columns[:-1])
    ]
    room = width - sum(column.width + 2 for column in wide)
    return [*wide, columns[-1]] if room >= MIN_WIDTH else columns


def row_lines(columns: Sequence[Column], cells: Sequence[str], width: int) -> Iterator[str]:
    """Yields the lines of one row: one, or two if the first or the last cell needs its own line.

    The first cell, an id, is never cut. The last cell is cut to the width that is left.
    """
    first, *others = map(escaped, cells)
    if display_width(first) > columns[0].width:
        yield first
        first = ""
    line = _padded(first, columns[0])
    for column, cell in zip(columns[1:-1], others[:-1], strict=True):
        line += "  " + _padded(cell, column)
    last, room = others[-1], width - display_width(line) - 2
    if room >= MIN_WIDTH or display_width(last) <= room:
        yield _joined([line, truncate(last, room)])
    else:
        yield line.rstrip()
        yield f"  {truncate(last, width - 2)}"


def key_value_lines(named: Mapping[str, str], width: int, indent: str = "") -> Iterator[str]:
    """Yields lines of a name and a value; a long value continues on the next line."""
    margin = len(indent) + max(map(len, named)) + 2
    for name, value in named.items():
        head, *rest = wrap(escaped(value), width - margin)
        yield f"{indent + name:<{margin}}{head}" if head else indent + name
        yield from (" " * margin + line for line in rest)


def _padded(text: str, column: Column) -> str:
    blanks = " " * (column.width - display_width(text))
    return blanks + text if column.right else text + blanks


def _joined(cells: Iterable[str]) -> str:
    return "  ".join(cells).rstrip()
