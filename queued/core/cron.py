"""Cron expressions in a time zone: five fields as Debian's cron reads them, or `@daily` and others.

Imported only where there are schedules.
"""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from queued.core.errors import UsageError
from queued.core.suggestions import shorten

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MAX_CHARS = 200
_FIELDS = "minute 0-59, hour 0-23, day of the month 1-31, month 1-12, day of the week 0-7"
_NO_DAY = "its day of the month is in none of its months"
_FIRST_SPAN_MS = 2 * 3_600_000


def check_expression(text: str) -> str:
    """Returns the expression with one space between two fields. Raises UsageError."""
    expression = " ".join(text.split())
    if expression.lower() == "@reboot":
        msg = "@reboot names no time, and a queue outlives a reboot; use cron for it, or a unit"
        raise UsageError(msg)
    fields = _NICKNAMES.get(expression.lower(), expression)
    wrong = f"not a cron expression: {shorten(text)}"
    if fields.startswith("@"):
        msg = f"{wrong} (give five fields, or {', '.join(_NICKNAMES)})"
        raise UsageError(msg)
    if len(fields.split()) != 5 or len(fields) > _MAX_CHARS:
        msg = f"{wrong} (give five fields: {_FIELDS})"
        raise UsageError(msg)
    if next(_cron(fields, datetime.fromtimestamp(0, UTC)), None) is None:
        msg = f"{wrong}: {_NO_DAY}"
        raise UsageError(msg)
    return expression


def check_zone(name: str) -> str:
    """Returns the name of a time zone. Raises UsageError if the system does not know it."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a directory of zones
        msg = f"unknown time zone {shorten(name)} (give a name such as Europe/Berlin, or UTC)"
        raise UsageError(msg) from None
    return name


def local_zone() -> str:
    """Returns the name of this system's time zone. Raises UsageError if it has no name."""
    linked = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    name = os.environ.get("TZ", "").removeprefix(":") or linked
    if not name and os.path.exists("/etc/localtime"):
        msg = "the time zone of this system has no name; give it, such as Europe/Berlin"
        raise UsageError(msg)
    return check_zone(name or "UTC")


def times_after(expression: str, zone: str, after_ms: int) -> Iterator[int]:
    """Yields the times of the expression after a time, each once, in milliseconds UTC.

    Ends before the year 10000. Raises UsageError if the expression or the zone is not valid.
    """
    fields = _NICKNAMES.get(expression.lower(), expression)
    start = datetime.fromtimestamp(after_ms / 1000, ZoneInfo(check_zone(zone)))
    with suppress(OverflowError, ValueError):  # the year 10000
        for found in _cron(fields, start):
            found_ms = round(found.timestamp() * 1000)
            # If the clock is set back, a time in the repeated hour is named twice, or too early; if
            # it is set forward, several times may become the first one after the gap.
            if found_ms > after_ms:
                yield found_ms
                after_ms = found_ms


def latest_times(
    expression: str, zone: str, first_ms: int, last_ms: int, count: int
) -> tuple[int, ...]:
    """Returns the last `count` times from `first_ms` to `last_ms`, in order.

    Reads a span of time before `last_ms` that grows until it has them, because the first time may
    be years ago.
    """
    span_ms = _FIRST_SPAN_MS
    while True:
        after_ms = max(first_ms - 1, last_ms - span_ms)
        times = times_after(expression, zone, after_ms)
        found = deque(takewhile(lambda ms: ms <= last_ms, times), maxlen=count)
        if len(found) == count or after_ms == first_ms - 1:
            return tuple(found)
        span_ms *= 8


def _cron(fields: str, start: datetime) -> Iterator[datetime]:
    try:
        return CronSim(fields, start)
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("-", " ")
        reason = f"its {field} is not valid ({_FIELDS})"
        if field == "day of month" and _valid_in_any_month(fields, start):
            reason = _NO_DAY
        msg = f"not a cron expression: {shorten(fields)}: {reason}"
        raise UsageError(msg) from None


def _valid_in_any_month(fields: str, start: datetime) -> bool:
    words = fields.split()
    words[3] = "*"
    try:
        CronSim(" ".join(words), start)
    except CronSimError:
        return False
    return True
