"""Rates: at most so many starts in any interval of a given length."""

from typing import NamedTuple

from queued.core.errors import UsageError
from queued.core.suggestions import shorten
from queued.core.times import parse_duration

_MOST = 100_000  # starts; the database keeps the times of so many
_WORDS = {1_000: "second", 60_000: "minute", 3_600_000: "hour", 86_400_000: "day"}
_UNITS = {3_600_000: "h", 60_000: "m", 1_000: "s", 1: "ms"}


class Rate(NamedTuple):
    """At most `starts` starts in any interval of `window_ms`. Its text is that of `parse`."""

    starts: int
    window_ms: int

    def __str__(self) -> str:  # noqa: D105 - see the class
        if word := _WORDS.get(self.window_ms):
            return f"{self.starts}/{word}"
        unit_ms = next(one for one in _UNITS if self.window_ms % one == 0)
        return f"{self.starts}/{self.window_ms // unit_ms}{_UNITS[unit_ms]}"


def stored(starts: int | None, window_ms: int | None) -> Rate | None:
    """Returns the rate of two columns; None if both are empty."""
    return None if starts is None or window_ms is None else Rate(starts, window_ms)


def parse(text: str) -> Rate:
    """Returns the rate of `10/minute`, `10/s` or `5/30s`. Raises UsageError."""
    number, _, time = (part.strip() for part in text.partition("/"))
    starts = int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0
    try:
        window_ms = round(1000 * parse_duration(time if time[:1].isdecimal() else f"1{time}"))
    except UsageError:
        window_ms = 0
    if not (time and 1 <= starts <= _MOST and 1_000 <= window_ms <= 86_400_000):
        form = f"N/TIME with 1 to {_MOST} starts and 1s to 1d, such as 10/minute or 5/30s"
        msg = f"a rate is {form}, not {shorten(text)}"
        raise UsageError(msg)
    return Rate(starts, window_ms)
