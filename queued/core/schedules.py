"""Schedules: which jobs are enqueued at which times, and what happens to times that were missed.

Imported only where there are schedules.
"""

import json
from enum import StrEnum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from queued.core import cron, times
from queued.core import field_checks as check
from queued.core.errors import ConfigError, UsageError
from queued.core.job_spec import new_job
from queued.core.model import CONDITIONS, NewJob
from queued.core.suggestions import did_you_mean, shorten
from queued.core.time_phrases import parse_phrase

MOST_CAUGHT_UP = 100  # firings of a schedule with `catch_up` all
_ON_TIME_MS = 60_000  # a firing that is not later than this was not missed
_FOUR_WEEKS_MS = 28 * 86_400_000
_ENDS = {"expires_at": "expires_in", "deadline": "timeout"}  # and what counts from the start


class CatchUp(StrEnum):
    """Which of the times that passed while no service ran are fired when one starts."""

    LAST = "last"
    NONE = "none"
    ALL = "all"


class Overlap(StrEnum):
    """What a firing does while an earlier job of the schedule waits or runs."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"


class Schedule(NamedTuple):
    """A schedule; times in milliseconds UTC.

    `job` is a JSON object of fields of a job. `file` is HOST:PATH of the conf file that has the
    schedule; None if `schedule add` made it. `next_ms` is the first time that has not fired.
    """

    name: str
    cron: str
    zone: str
    job: str
    catch_up: str = CatchUp.LAST
    overlap: str = Overlap.ALLOW
    file: str | None = None
    next_ms: int | None = None
    last_ms: int | None = None
    paused_ms: int | None = None
    fired: int = 0
    skipped: int = 0
    created_ms: int = 0

    def next_after(self, after_ms: int) -> int | None:
        """Returns the first time after a time; None if there is none."""
        return next(cron.times_after(self.cron, self.zone, after_ms), None)

    def firing(self, at_ms: int) -> NewJob:
        """Returns the job of a firing. Raises UsageError, ValueError or RecursionError."""
        payload = json.loads(self.job)
        given = check.env("env", payload.get("env") or {})
        own = {"QUEUED_SCHEDULE": self.name, "QUEUED_SCHEDULED_AT": times.iso(at_ms)}
        ends = _ends(payload, self.zone, at_ms)
        return new_job({**payload, **ends, "env": {**given, **own}}, may_expire=True)


class DueTimes(NamedTuple):
    """The times to fire now; the first one that is left out; and the first time after now."""

    fire_ms: tuple[int, ...]
    missed_ms: int | None
    next_ms: int | None


def due_times(schedule: Schedule, now_ms: int) -> DueTimes:
    """Returns what becomes of the times of a schedule from `next_ms` to now."""
    first_ms = now_ms if schedule.next_ms is None else schedule.next_ms
    most = MOST_CAUGHT_UP if schedule.catch_up == CatchUp.ALL else 1
    found = cron.latest_times(schedule.cron, schedule.zone, first_ms, now_ms, most)
    if schedule.catch_up == CatchUp.NONE:
        found = tuple(at_ms for at_ms in found if now_ms - at_ms <= _ON_TIME_MS)
    missed_ms = None if first_ms in found else first_ms
    if schedule.overlap == Overlap.QUEUE and len(found) > 1:
        return DueTimes(found[:1], missed_ms, found[1])  # which waits for the end of the first
    return DueTimes(found, missed_ms, schedule.next_after(now_ms))


def new_schedule(
    name: object, expression: object, zone: object, payload: dict[str, Any], **policies: object
) -> Schedule:
    """Returns a checked schedule; `zone` None means that of this system.

    `policies` may have `catch_up` and `overlap`. Raises UsageError.
    """
    for field in ("id", "run_at", *CONDITIONS, "after_index", "array"):
        if payload.get(field) is not None:
            instead = "; delay is a time after it" if field == "run_at" else ""
            msg = f"a schedule takes no {field}: each of its times is another job{instead}"
            raise UsageError(msg)
    zone = cron.local_zone() if zone is None else cron.check_zone(_text("tz", zone))
    ends = _ends(payload, zone, 0)
    new_job({field: value for field, value in payload.items() if field not in ends})
    schedule = Schedule(
        check.job_id("name", name),
        cron.check_expression(_text("cron", expression)),
        zone,
        json.dumps(payload, ensure_ascii=False),
        _choice("catch_up", CatchUp, policies.get("catch_up")),
        _choice("overlap", Overlap, policies.get("overlap")),
    )
    schedule.firing(0)
    return schedule


def _ends(payload: dict[str, Any], zone: str, at_ms: int) -> dict[str, str]:
    """Returns the fields of a job that say when it ends, after a firing. Raises UsageError."""
    given = {field: payload[field] for field in _ENDS if payload.get(field) is not None}
    return {field: _end(field, value, ZoneInfo(zone), at_ms) for field, value in given.items()}


def _end(field: str, value: object, zone: ZoneInfo, at_ms: int) -> str:
    """Returns the first time after `at_ms` that the value names, as ISO 8601 in UTC.

    Raises UsageError if it names the same time for each firing.
    """
    try:
        text = _text(field, value)
        found, later = (parse_phrase(text, ms, zone) for ms in (at_ms, at_ms + _FOUR_WEEKS_MS))
        if found != later:
            return times.iso(round(found.timestamp() * 1000))
    except ValueError:
        pass
    takes = 'a time of the day for the job of a schedule, such as "06:00"'
    raise check.refusal(field, f"{takes}; or give {_ENDS[field]}", value)


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise check.refusal(field, "text", value)
    return value


def _choice(field: str, choices: type[StrEnum], value: object) -> str:
    """Returns one of the choices; the first one if none is given."""
    known = [str(choice) for choice in choices]
    if value is None:
        return known[0]
    if value not in known:
        raise check.refusal(field, f"one of {', '.join(known)}", value)
    return str(value)


_FILE_FIELDS = ("name", "cron", "tz", "catch_up", "overlap")


def file_schedules(tables: object, path: str | None) -> tuple[Schedule, ...]:
    """Returns the schedules of a conf file: its tables `[[schedule]]`. Raises ConfigError."""
    found: dict[str, Schedule] = {}
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        msg = f"{path}: schedules are tables that begin with [[schedule]]"
        raise ConfigError(msg)
    for table in tables:
        name = shorten(table.get("name", "without a name"))
        try:
            schedule = _file_schedule(table)
            if schedule.name in found:
                msg = "the name is given twice"
                raise UsageError(msg)  # noqa: TRY301 - with the file and the name before it
        except UsageError as error:
            msg = f"{path}: schedule {name}: {error}"
            raise ConfigError(msg) from None
        found[schedule.name] = schedule
    return tuple(found.values())


def _file_schedule(table: dict[str, Any]) -> Schedule:
    for field in ("name", "cron"):
        if field not in table:
            msg = f"{field} is missing{did_you_mean(field, table)}"
            raise UsageError(msg)
    name, expression, zone, catch_up, overlap = (table.get(field) for field in _FILE_FIELDS)
    payload = {field: value for field, value in table.items() if field not in _FILE_FIELDS}
    return new_schedule(name, expression, zone, payload, catch_up=catch_up, overlap=overlap)
