"""The only module that reads a clock, and the text forms of times and durations.

Stored times are wall-clock milliseconds UTC since 1970; deadlines are monotonic seconds.
"""

import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from queued.core.errors import UsageError
from queued.core.suggestions import shorten

if TYPE_CHECKING:
    from datetime import datetime

LATEST_MS = 253_402_300_799_999  # the end of the year 9999, the last that ISO 8601 can write
_EARLIEST_MS = -62_135_596_800_000  # the beginning of the year 1
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h|d)?"


def now_ms() -> int:
    """Returns the wall clock in milliseconds since 1970 UTC. It may jump."""
    return time.time_ns() // 1_000_000


# For deadlines: seconds of a clock that never jumps and does not count suspended time.
monotonic_s = time.monotonic
NEVER_S = float("inf")  # no deadline


def left_s(until_s: float) -> float | None:
    """Returns the seconds until a deadline, 0 if it is over, and None for `NEVER_S`."""
    return None if until_s == NEVER_S else max(0.0, until_s - monotonic_s())


def boot_s() -> float:
    """Returns seconds since boot, suspended time included. It never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_ms() -> int:
    """Returns milliseconds since boot, suspended time included. It never jumps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def boot_offset_ms() -> int:
    """Returns the wall clock less the time since boot, in ms; the same in each time namespace.

    Reads both clocks again if the process was suspended between the two reads.
    """
    while True:
        before_ms = boot_ms()
        offset_ms = now_ms() - before_ms
        if boot_ms() - before_ms <= 10:
            return offset_ms + _namespace_ms()


@lru_cache(maxsize=1)
def _namespace_ms() -> int:
    """Returns the ms that the time namespace of this process adds to the time since boot."""
    try:
        with open("/proc/self/timens_offsets", encoding="ascii") as file:
            offsets = [line.split() for line in file]
    except FileNotFoundError:
        return 0  # Linux before 5.6, or a kernel without time namespaces
    return sum(
        int(seconds) * 1000 + int(nanoseconds) // 1_000_000
        for clock, seconds, nanoseconds in offsets
        if clock == "boottime"
    )


def boot_id() -> str:
    """Returns the unique id of the boot that `boot_ms` counts from."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


@lru_cache(maxsize=8)  # the log lines of a turn have one or two times
def iso(ms: int) -> str:
    """Returns ISO 8601 in UTC with milliseconds: `2026-01-31T12:00:00.000Z`.

    A time outside the years 1 to 9999 becomes the nearest time in them.
    """
    seconds, milliseconds = divmod(min(max(ms, _EARLIEST_MS), LATEST_MS), 1000)
    return f"{_iso_second(seconds)}.{milliseconds:03d}Z"


def local_clock(ms: int) -> str:
    """Returns the time of day in the local time zone: `12:00:00`."""
    return time.strftime("%H:%M:%S", time.localtime(ms // 1000))


@lru_cache(maxsize=8)
def _iso_second(seconds: int) -> str:
    """Returns the part of `iso` up to the second; cached, because most times are in one second."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def parse_when(value: object) -> int:
    """Returns a point in time in milliseconds UTC.

    Takes seconds since 1970, or text: ISO 8601 or what `time_phrases` reads; without a zone it is
    local time. Raises UsageError for anything else, for a time that a change of the clocks skips
    or repeats, and for times outside the years 1970 to 9999.
    """
    if isinstance(value, str):
        ms = _parse_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # NaN compares false, too.
        ms = round(value * 1000) if 0 <= value <= LATEST_MS / 1000 else -1
    else:
        raise _not_a_time(value)
    if not 0 <= ms <= LATEST_MS:
        msg = f"a time must lie between the years 1970 and 9999, not {shorten(value)}"
        raise UsageError(msg)
    return ms


def _parse_text(text: str) -> int:
    from datetime import datetime

    try:
        try:
            local = datetime.fromisoformat(text)
        except ValueError:
            from queued.core.time_phrases import parse_phrase

            local = parse_phrase(text, now_ms())
        return _instant_ms(local)
    except (ValueError, OverflowError, OSError):
        raise _not_a_time(text) from None


def _instant_ms(local: "datetime") -> int:
    """Returns a time in milliseconds UTC; a naive `local` is a time of the system's zone.

    Raises UsageError for a time that a change of the clocks skips or repeats.
    """
    folds = [local.replace(fold=fold) for fold in (0, 1)]
    first, second = (round(fold.timestamp() * 1000) for fold in folds)
    if first == second:
        return first
    shown = local.replace(tzinfo=None).isoformat(" ")
    if first > second:
        msg = f"there is no {shown}: the clocks are set forward over it; give another time"
        raise UsageError(msg)
    choices = [(fold if fold.tzinfo else fold.astimezone()).isoformat() for fold in folds]
    msg = f"{shown} occurs twice, because the clocks are set back; give {' or '.join(choices)}"
    raise UsageError(msg)


def _not_a_time(value: object) -> UsageError:
    forms = "03:00, tomorrow 9am, 2026-12-01 03:00 Europe/Berlin, or seconds since 1970"
    return UsageError(f"not a time: {shorten(value)} (give {forms})")


def parse_duration(text: str) -> float:
    """Returns the seconds of `90`, `1.5`, `500ms`, `2h`, `1h30m`, `5 min` or `1w`.

    Raises UsageError.
    """
    stripped = text.strip()
    match = re.fullmatch(_DURATION, stripped)
    seconds = float(match[1]) * _UNITS_S[match[2] or "s"] if match else _parse_units(stripped)
    if seconds is None:
        msg = f"not a duration: {shorten(text)} (give seconds, or 500ms, 5 min, 1h30m, 2d, 1w)"
        raise UsageError(msg)
    return seconds


def _parse_units(text: str) -> float | None:
    """Returns the seconds of numbers with units; None if there is another text, sign or colon.

    A colon is refused because `03:00` could be minutes or hours.
    """
    if len(text) > 100 or text[:1] in {"+", "-"} or ":" in text:
        return None
    from pytimeparse.timeparse import timeparse

    seconds: float | None = timeparse(text)
    return seconds


def short_duration(seconds: float) -> str:
    """Returns a duration in at most two units: `0.2s`, `47s`, `3m12s`, `5h07m`, `12d3h`."""
    whole = max(0, int(seconds))
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"
