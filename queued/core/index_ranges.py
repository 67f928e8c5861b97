"""The indexes of a job array, as text: `1-100`, `1,3,5` or `0-15:4`, and its limit: `1-100%10`."""

import re

from queued.core.errors import UsageError
from queued.core.field_checks import refusal
from queued.core.model import Array
from queued.core.suggestions import shorten

MOST_INDEXES = 10_000
LARGEST_INDEX = 1_000_000
MOST_AT_ONCE = 1000  # as of jobs with a key


def array(name: str, value: object) -> Array:
    """Returns the indexes, in order, each once, and the limit behind them. Raises UsageError."""
    text, limited, most = value.partition("%") if isinstance(value, str) else ("", "", "")
    ranges = [_range(part) for part in text.split(",")]
    if limited and not (re.fullmatch("[0-9]{1,4}", most) and 1 <= int(most) <= MOST_AT_ONCE):
        msg = f"{name} takes a number from 1 to {MOST_AT_ONCE:,} after %, not {shorten(most)}"
        raise UsageError(msg)
    found = set[int]()
    for numbers in ranges:
        if not numbers:
            takes = f"indexes from 0 to {LARGEST_INDEX:,} such as 1-100, 1,3,5, 0-15:4 or 1-100%10"
            raise refusal(name, takes, value)
        if len(numbers) + len(found) > MOST_INDEXES:
            msg = f"{name} has more than {MOST_INDEXES:,} indexes; use several arrays"
            raise UsageError(msg)
        found.update(numbers)
    return Array(tuple(sorted(found)), int(most) if limited else None)


def _range(text: str) -> range | None:
    number = "([0-9]{1,7})"
    match = re.fullmatch(f"{number}(?:-{number}(?::{number})?)?", text)
    if match is None:
        return None
    first = int(match[1])
    last, step = int(match[2] or first), int(match[3] or 1)
    return range(first, last + 1, step) if step and last <= LARGEST_INDEX else None
