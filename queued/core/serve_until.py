"""What ends a service by itself, as the flags of `queued` give it."""

from contextlib import suppress
from typing import Any, NamedTuple

from queued.core import times
from queued.core.errors import UsageError
from queued.core.suggestions import shorten


class ServeUntil(NamedTuple):
    """The conditions of which the first ends the service; without them only a stop ends it."""

    drained: bool = False  # nothing that the service may claim is due, and none of its jobs runs
    max_jobs: int | None = None  # so many runs have ended; no more are begun
    for_s: float | None = None  # this long after its start
    strict: bool = False  # ends nothing: the exit code says whether a job has become dead
    due_by_s: float | None = None  # `drained`: nor becomes due by then, on the monotonic clock


def serve_until(flags: dict[str, Any]) -> ServeUntil:
    """Returns what the flags of `queued` say. Raises UsageError."""
    count, time, within = flags["--max-jobs"], flags["--for"], flags["--due-within"]
    if count is not None and not (count.isdecimal() and 0 < len(count) < 16 and int(count) > 0):
        msg = f"--max-jobs takes a number from 1 on, not {shorten(count)}"
        raise UsageError(msg)
    if within is not None and not flags["--drain"]:
        msg = "--due-within needs --drain"
        raise UsageError(msg)
    try:
        for_s = None if time is None else times.parse_duration(time)
    except UsageError as error:
        msg = f"--for: {error}"
        raise UsageError(msg) from None
    return ServeUntil(
        flags["--drain"],
        None if count is None else int(count),
        for_s,
        flags["--strict"],
        None if within is None else times.monotonic_s() + _within_s(within),
    )


def _within_s(text: str) -> float:
    """Returns the seconds of a duration, or until a time. Raises UsageError."""
    try:
        return times.parse_duration(text)
    except UsageError as error:
        with suppress(UsageError):
            return (times.parse_when(text) - times.now_ms()) / 1000
        msg = f"--due-within: {error}; or a time such as 2026-12-01T03:00Z"
        raise UsageError(msg) from None
