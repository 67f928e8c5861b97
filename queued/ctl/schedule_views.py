"""The commands schedule list, show and next."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

from queued.core import cron
from queued.core.errors import Exit
from queued.core.schedules import Schedule
from queued.core.times import iso, now_ms
from queued.ctl.arguments import COMMON, WATCH_OPTION, Arguments
from queued.ctl.context import Context
from queued.ctl.render import json_text, print_err, print_json, print_out
from queued.ctl.table import Column, heading, key_value_lines, row_lines, table_width, widened

_SHOWN = 3  # of the next times

LIST = (
    """\
Usage: queuectl schedule list [options]

Lists the schedules with their next three times, in the time zone of each, as
far as they fit on a terminal. A time without a date is on the day before it in
the list, and a date without a year in the year of the one before it, or in this
year.

Options:
"""
    + WATCH_OPTION
    + COMMON
    + """
Examples:
  queuectl schedule list
  queuectl schedule list --json
"""
)

COLUMNS = (
    Column("NAME", 12),
    Column("CRON", 13),
    Column("NEXT", 37),
    Column("ZONE", 13),
    Column("COMMAND", 0),
)
_WIDE = 95  # below that a terminal has no room for three times with dates
_NARROW = [COLUMNS[0], Column("CRON", 11), Column("NEXT", 24), *COLUMNS[3:]]


def list_(context: Context, arguments: Arguments) -> int:  # noqa: ARG001  all commands have the same parameters
    """Prints all schedules."""
    schedules, now = context.store.schedules.list(), now_ms()
    if context.json:
        print_json([schedule_record(schedule, now) for schedule in schedules])
        return Exit.DONE
    if not schedules:
        print_err("no schedules")
        return Exit.DONE
    width = table_width()
    columns = COLUMNS if width >= _WIDE else _NARROW
    rows = [_cells(one, now) for one in schedules]
    fitting = widened(columns, rows, width)
    if fitting is columns:  # no room for all times
        rows = [[*row[:2], _fitting(row[2], columns[2].width), *row[3:]] for row in rows]
        fitting = widened(columns, rows, width)
    print_out(heading(fitting, width))
    for row in rows:
        print_out("\n".join(row_lines(fitting, row, width)))
    return Exit.DONE


def _cells(schedule: Schedule, now: int) -> list[str]:
    command = str(json.loads(schedule.job)["command"])
    return [schedule.name, schedule.cron, upcoming_text(schedule, now), schedule.zone, command]


def _fitting(times: str, width: int) -> str:
    """Returns as many of the times as fit."""
    while len(times) > width and "," in times:
        times = times.rpartition(",")[0]
    return times


def upcoming(schedule: Schedule, now: int) -> list[int]:
    """Returns the next three times; none if the schedule is paused."""
    if schedule.paused_ms is not None or schedule.next_ms is None:
        return []
    after_ms = max(schedule.next_ms - 1, now)
    return [*islice(cron.times_after(schedule.cron, schedule.zone, after_ms), _SHOWN)]


def upcoming_text(schedule: Schedule, now: int) -> str:
    """Returns the next times, each with its date if that is not the date before it.

    A date has a year if that is not this year, or that of the date before it.
    """
    if schedule.paused_ms is not None:
        return "paused"
    shown, day = [], _local(now, schedule.zone).strftime("%Y")
    for at_ms in upcoming(schedule, now):
        date, clock = _local(at_ms, schedule.zone).isoformat(" ", "minutes")[:16].split()
        brief = date[5:] if date[:4] == day[:4] else date
        shown.append(clock if date == day else f"{brief} {clock}")
        day = date
    return ", ".join(shown) or "never"


def _local(at_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))


def schedule_record(schedule: Schedule, now: int) -> dict[str, object]:
    """Returns a schedule as `--json` prints it."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "tz": schedule.zone,
        "catch_up": schedule.catch_up,
        "overlap": schedule.overlap,
        "job": json.loads(schedule.job),
        "file": schedule.file,
        "next": [iso(at_ms) for at_ms in upcoming(schedule, now)],
        "last": None if schedule.last_ms is None else iso(schedule.last_ms),
        "paused_at": None if schedule.paused_ms is None else iso(schedule.paused_ms),
        "fired": schedule.fired,
        "skipped": schedule.skipped,
        "created_at": iso(schedule.created_ms),
    }


SHOW = (
    """\
Usage: queuectl schedule show [options] SCHEDULE

Shows a schedule, the options of its jobs, and those of its jobs that wait or
run.

Options:
"""
    + WATCH_OPTION
    + COMMON
    + """
Examples:
  queuectl schedule show backup
"""
)


def show(context: Context, arguments: Arguments) -> int:
    """Prints one schedule. Raises NotFoundError."""
    name = arguments.text("SCHEDULE") or ""
    schedule, jobs = context.store.schedules.show(name), context.store.schedules.jobs(name)
    if context.json:
        live = [{"id": job, "state": state} for job, state in jobs]
        print_json({**schedule_record(schedule, now_ms()), "jobs": live})
    else:
        shown = ", ".join(f"{job} {state}" for job, state in jobs)
        print_out("\n".join(_description(schedule, shown, table_width())))
    return Exit.DONE


def _description(schedule: Schedule, jobs: str, width: int) -> Iterator[str]:
    payload = json.loads(schedule.job)
    last = {} if schedule.last_ms is None else {"last": iso(schedule.last_ms)}
    named = {
        "name": schedule.name,
        "command": str(payload.pop("command")),
        "cron": f"{schedule.cron}  {schedule.zone}",
        "next": upcoming_text(schedule, now_ms()),
        **last,
        "fired": f"{schedule.fired}, skipped: {schedule.skipped}",
        "catch up": schedule.catch_up,
        "overlap": schedule.overlap,
        **({"jobs": jobs} if jobs else {}),
        **({} if schedule.file is None else {"file": schedule.file}),
        "created": iso(schedule.created_ms),
    }
    yield from key_value_lines(named, width)
    if payload:
        yield "\noptions"
        options = {field: json_text(value) for field, value in payload.items()}
        yield from key_value_lines(options, width, "  ")


NEXT = (
    """\
Usage: queuectl schedule next [options] SCHEDULE

Prints the next times of a schedule, or of a cron expression that is no
schedule, with their distance from UTC.

Options:
  -n, --limit N        so many times (10)
  --tz ZONE            the time zone (default: that of the schedule; for an
                       expression that of this system)
"""
    + COMMON
    + """
Examples:
  queuectl schedule next backup -n 3
  queuectl schedule next '*/5 * * * *' --tz UTC
"""
)


def next_(context: Context, arguments: Arguments) -> int:
    """Prints the times of a schedule or an expression. Raises NotFoundError, UsageError."""
    given, zone, after_ms = arguments.text("SCHEDULE") or "", arguments.text("--tz"), now_ms()
    expression = given
    if " " not in given.strip() and not given.startswith("@"):
        schedule = context.store.schedules.show(given)
        expression, zone = schedule.cron, zone or schedule.zone
        after_ms = max(after_ms, (schedule.next_ms or 0) - 1)
    expression = cron.check_expression(expression)
    zone = cron.local_zone() if zone is None else cron.check_zone(zone)
    limit = arguments.integer("--limit", 1, 10_000) or 10
    found = [*islice(cron.times_after(expression, zone, after_ms), limit)]
    if context.json:
        print_json({"next": [iso(at_ms) for at_ms in found]})
    else:
        print_out("\n".join(_local(at_ms, zone).isoformat(" ", "minutes") for at_ms in found))
    return Exit.DONE
