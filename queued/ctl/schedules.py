"""The commands schedule add, edit, run, pause, resume and remove."""

import json
from collections.abc import Mapping

from queued.core import labels
from queued.core.errors import ConflictError, Exit, NotFoundError, UsageError
from queued.core.job_changes import emptied
from queued.core.schedules import Schedule, new_schedule
from queued.core.times import now_ms
from queued.ctl.arguments import COMMON, Arguments
from queued.ctl.context import Context
from queued.ctl.enqueue import QUEUE_OPTIONS, RUN_OPTIONS, acknowledge_one, note_existing
from queued.ctl.live_services import warn_without_service
from queued.ctl.render import print_err, print_json, print_out
from queued.ctl.schedule_views import schedule_record, upcoming_text

_OPTIONS = (
    """\
  --tz ZONE            the time zone of CRON, such as Europe/Berlin (default:
                       that of this system)
  --catch-up WHICH     of the times that passed while no service ran, fire the
                       last (default), none, or all, at most 100
  --overlap POLICY     while an earlier job of the schedule waits or runs: allow
                       another one (default), skip this time, queue it until
                       the job has ended, or replace the job, which is cancelled
"""
    + QUEUE_OPTIONS
    + RUN_OPTIONS
)

ADD = (
    """\
Usage:
  queuectl schedule add [options] [--env VAR]... [--limit LIMIT]...
                        [--label LABEL]... NAME CRON [--] COMMAND...

Enqueues a job at each time that CRON names: five fields as in crontab(5), or
@hourly, @daily, @weekly, @monthly or @yearly. COMMAND and the options of the
job are those of `queuectl enqueue`, except that TIME is a time of the day, in
the zone of the schedule: the first one after the time of the job. The
environment of the job has QUEUED_SCHEDULE, the name, and QUEUED_SCHEDULED_AT,
the time in UTC.

Options:
  --replace            replace the schedule of this name, if there is one
"""
    + _OPTIONS
    + COMMON
    + """
Exit code 4: there is a schedule of this name.

Examples:
  queuectl schedule add backup '0 3 * * *' --overlap skip -- backup.sh /srv
  queuectl schedule add report '0 9 * * mon-fri' --tz Europe/Berlin -- report.py
"""
)


def add(context: Context, arguments: Arguments) -> int:
    """Stores a schedule. Raises ConflictError."""
    from queued.ctl.shell_job import payload

    schedule = new_schedule(
        arguments.text("NAME"),
        arguments.text("CRON"),
        arguments.text("--tz"),
        payload(arguments),
        catch_up=arguments.text("--catch-up"),
        overlap=arguments.text("--overlap"),
    )
    known = {one.name: one for one in context.store.schedules.list()}
    if arguments.flag("--replace") and schedule.name in known:
        return _replace(context, known[schedule.name], schedule)
    context.store.schedules.add(schedule, now_ms=now_ms())
    return _show(context, schedule.name)


def _replace(context: Context, before: Schedule, schedule: Schedule) -> int:
    if before.file is not None:
        msg = f"{before.name} is in {before.file}: change it there, and reload the service"
        raise ConflictError(msg)
    context.store.schedules.edit(schedule, now_ms=now_ms())
    return _show(context, schedule.name)


def _show(context: Context, name: str) -> int:
    """Prints when the schedule fires next; warns if no service will run its jobs."""
    schedule = context.store.schedules.show(name)
    if context.json:
        print_json(schedule_record(schedule, now_ms()))
    else:
        print_out(f"{name}  {upcoming_text(schedule, now_ms())}  {schedule.zone}")
    warn_without_service(context, [labels.split(schedule.firing(0).requires)])
    return Exit.DONE


EDIT = (
    """\
Usage:
  queuectl schedule edit [options] [--env VAR]... [--limit LIMIT]...
                         [--label LABEL]... SCHEDULE [--] [COMMAND...]

Changes what is given, and keeps everything else; `schedule add --replace` keeps
nothing. An empty value removes an option of the job. The values in () are the
defaults of `schedule add`. A new CRON or zone begins with its first time from
now on.

Options:
  --cron CRON          the times
"""
    + _OPTIONS
    + COMMON
    + """
Exit code 4: the schedule is in a conf file.

Examples:
  queuectl schedule edit backup --cron '0 4 * * *'
  queuectl schedule edit backup --timeout 1h -- backup.sh /srv /home
"""
)


def edit(context: Context, arguments: Arguments) -> int:
    """Changes a schedule. Raises NotFoundError, ConflictError."""
    from queued.ctl.shell_job import fields, payload

    given = payload(arguments) if arguments.texts("COMMAND") else fields(arguments)
    if not given and not arguments.given() & {"--cron", "--tz", "--catch-up", "--overlap"}:
        msg = "schedule edit needs an option that says what to change, such as --cron @daily"
        raise UsageError(msg)
    before = context.store.schedules.show(arguments.text("SCHEDULE") or "")
    job, gone = {**json.loads(before.job), **given}, emptied(given)
    schedule = new_schedule(
        before.name,
        arguments.text("--cron") or before.cron,
        arguments.text("--tz") or before.zone,
        {name: value for name, value in job.items() if name not in gone},
        catch_up=arguments.text("--catch-up") or before.catch_up,
        overlap=arguments.text("--overlap") or before.overlap,
    )
    return _replace(context, before, schedule)


RUN = (
    """\
Usage: queuectl schedule run [options] SCHEDULE

Enqueues a job of the schedule now, beside those of its times, and prints the id
of the job. A paused schedule can be run, too.
"""
    + COMMON
    + """
Examples:
  queuectl schedule run backup
"""
)


def run(context: Context, arguments: Arguments) -> int:
    """Enqueues a job of a schedule. Raises NotFoundError."""
    name = arguments.text("SCHEDULE") or ""
    most = int(context.sources()["default_max_retries"].value)
    job = context.store.schedules.show(name).firing(0)
    made = context.store.schedules.run(name, max_retries=most, now_ms=now_ms())
    note_existing([made])
    acknowledge_one(context, made, job)
    return Exit.DONE


PAUSE = (
    """\
Usage: queuectl schedule pause [options] SCHEDULES...

Lets schedules enqueue no jobs until `queuectl schedule resume`. Jobs that they
have enqueued are not changed.
"""
    + COMMON
    + """
Examples:
  queuectl schedule pause backup
"""
)


def pause(context: Context, arguments: Arguments) -> int:
    """Pauses the schedules that are not paused. Raises NotFoundError."""
    names = _existing(context, arguments)
    done = {name: context.store.schedules.pause(name, now_ms=now_ms()) for name in names}
    return _print(context, done, "paused", "is already paused")


RESUME = (
    """\
Usage: queuectl schedule resume [options] SCHEDULES...

Ends the pause of schedules. The times of the pause are not caught up.
"""
    + COMMON
    + """
Examples:
  queuectl schedule resume backup
"""
)


def resume(context: Context, arguments: Arguments) -> int:
    """Ends the pauses of the schedules, if there are some. Raises NotFoundError."""
    names = _existing(context, arguments)
    done = {name: context.store.schedules.resume(name, now_ms=now_ms()) for name in names}
    return _print(context, done, "resumed", "was not paused")


def _existing(context: Context, arguments: Arguments) -> dict[str, Schedule]:
    """Returns the named schedules. Raises NotFoundError before any is changed."""
    return {name: context.store.schedules.show(name) for name in arguments.texts("SCHEDULES")}


def _print(context: Context, done: Mapping[str, bool], verb: str, otherwise: str) -> int:
    """Prints which schedules were changed, and that others needed no change."""
    if context.json:
        records = [{"schedule": name, verb: changed} for name, changed in done.items()]
        print_json(records if len(records) > 1 else records[0])
        return Exit.DONE
    for name, changed in done.items():
        if changed:
            print_out(f"{name} {verb}")
        else:
            print_err(f"queuectl: {name} {otherwise}")
    return Exit.DONE


REMOVE = (
    """\
Usage: queuectl schedule remove [options] SCHEDULES...

Removes schedules. Jobs that they have enqueued are not changed.
"""
    + COMMON
    + """
Examples:
  queuectl schedule remove backup
"""
)


def remove(context: Context, arguments: Arguments) -> int:
    """Removes schedules. Raises NotFoundError."""
    try:
        schedules = _existing(context, arguments)
    except NotFoundError as error:
        msg = f"{error}; nothing was removed"
        raise NotFoundError(msg) from None
    for name in schedules:
        context.store.schedules.remove(name)
    _print(context, dict.fromkeys(schedules, True), "removed", "")
    again = "a start or reload of a service there adds it again"
    for name, schedule in schedules.items():
        if schedule.file is not None:
            print_err(f"queuectl: if {name} is still in {schedule.file}, {again}")
    return Exit.DONE
