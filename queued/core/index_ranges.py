"""The indexes of a job array, as text: `1-100`, `1,3,5` or `0-15:4`."""

import re

from queued.core.errors import UsageError
from queued.core.field_checks import refusal

MOST_INDEXES = 10_000
LARGEST_INDEX = 1_000_000


def indexes(name: str, value: object) -> tuple[int, ...]:
    """Returns the indexes of a text, in order, each once. Raises UsageError."""
    ranges = [_range(part) for part in value.split(",")] if isinstance(value, str) else [None]
    found = set[int]()
    for numbers in ranges:
        if not numbers:
            takes = f"indexes from 0 to {LARGEST_INDEX:,} such as 1-100, 1,3,5 or 0-15:4"
            raise refusal(name, takes, value)
        if len(numbers) + len(found) > MOST_INDEXES:
            msg = f"{name} has more than {MOST_INDEXES:,} indexes; use several arrays"
            raise UsageError(msg)
        found.update(numbers)
    return tuple(sorted(found))


def _range(text: str) -> range | None:
    number = "([0-9]{1,7})"
    match = re.fullmatch(f"{number}(?:-{number}(?::{number})?)?", text)
    if match is None:
        return None
    first = int(match[1])
    last, step = int(match[2] or first), int(match[3] or 1)
    return range(first, last + 1, step) if step and last <= LARGEST_INDEX else None
