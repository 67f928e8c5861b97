"""The service's log: one JSON object a line on standard output, or readable text on a terminal.

All events are listed here, as noun.past_verb, with what they mean. A log that cannot be written
never stops the service: the line is dropped and the next one that can be written says how many.
"""

import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec
import structlog

from queued.core import times

EVENTS = {
    "service.started": "the supervisor runs; its children are being forked",
    "service.ready": "the database is open and a worker waits for work",
    "service.draining": "asked to stop: running jobs may finish until the grace is over",
    "service.stopping": "the grace is over or a second signal came: running jobs are ended",
    "service.stopped": "all children are gone; the last line of a service",
    "service.failed": "the service cannot go on; the last line of a service",
    "service.resized": "a signal or a setting asks for more or fewer workers",
    "service.described": "asked by USR1: the supervisor's view of its children",
    "queue.described": "asked by USR1: how many jobs stand where, and what is running",
    "reload.started": "the conf file was read again; the children are being renewed",
    "reload.finished": "all children have the new settings",
    "reload.not_recorded": "who waits for the end of a reload cannot be told of it",
    "reload.refused": "the conf file is wrong; nothing has changed",
    "child.hung": "a child does not answer the watchdog's questions; it is killed",
    "child.started": "a worker or the dispatcher was forked",
    "child.exited": "it ended as it should",
    "child.died": "it ended as it should not and is started again",
    "child.not_started": "the system refused to fork; tried again later",
    "child.leftovers_killed": "a dead worker's processes were killed",
    "child.leftovers_stay": "something of a dead worker cannot be killed; its job waits",
    "worker.orphaned": "the supervisor died or gave up; the worker ends its command and exits",
    "worker.message_ignored": "a message about a run that is no longer the current one",
    "worker.faulty": "a worker sent what is no message for the dispatcher; it is replaced",
    "job.claimed": "a job was handed to a worker",
    "job.started": "a worker starts the command",
    "job.start_refused": "the system has no process, memory or descriptor; tried again",
    "job.cgroup_failed": "the kernel refuses a control group for a run; it goes without",
    "job.unkillable": "what a job left may not be signalled by us; its worker waits until it ends",
    "job.printed": "a line of a command's output, if the setting log_output asks for it",
    "job.finished": "an attempt is recorded: how it ended and what becomes of the job",
    "job.claim_lost": "a result came for a claim that is no longer in force; it was dropped",
    "jobs.pruned": "ended jobs were removed that are older than the settings keep them",
    "job.returned": "a job that was handed to a worker was not started, and is ready again",
    "settings.applied": "the settings in force have changed",
    "settings.refused": "a stored setting is wrong; the old ones stay",
    "clock.shifted": "the wall clock was set; waiting retries were moved along",
    "database.locked": "another program has held the database for long; we wait",
    "database.held_up": "another program keeps a transaction open, and the WAL grows meanwhile",
    "database.refused": "a turn could not be made durable; it is tried again",
    "database.recovered": "turns are durable again",
    "database.watch_missing": "inotify is not to be had; we look for work now and then",
    "instance.not_rescued": "something of a dead instance cannot be killed; its jobs wait",
    "instance.rescued": "an instance that died was cleaned up and its claims settled",
    "log.dropped": "so many lines before this one could not be written",
    "process.failed": "a defect of ours; the traceback is in the line",
}

Fields = MutableMapping[str, Any]
Render = Callable[[Fields], bytes]
Log = structlog.typing.FilteringBoundLogger

_FIRST = ("ts", "level", "event", "instance", "role", "pid")  # as a reader looks for them
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)


def open_log(*, level: str, style: str, **bound: object) -> Log:
    """A logger of this process, with these fields on every line: `style` is json, console, auto."""
    console = style == "console" or (style == "auto" and sys.stdout.isatty())
    render = _for_people() if console else _json
    lines = _Lines(_prioritized(render) if to_journal(1) else render)
    logger: Log = structlog.wrap_logger(
        lines,
        processors=[_line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    return logger.bind(**bound, pid=os.getpid())


def _line(logger: object, method: str, fields: Fields) -> tuple[tuple[Fields], dict[str, Any]]:
    """The same fields first on every line; to render them is the business of `_Lines`."""
    if "exc_info" in fields:
        fields = structlog.processors.format_exc_info(logger, method, fields)
    first = {
        "ts": times.iso(times.now_ms()),
        "level": "error" if method == "exception" else method,
        "event": fields.pop("event"),
    }
    return ({**first, **fields},), {}


def _json(fields: Fields) -> bytes:
    return msgspec.json.encode(fields, enc_hook=str)


def _for_people() -> Render:
    render = structlog.dev.ConsoleRenderer(pad_event_to=24, colors=sys.stdout.isatty())
    return lambda fields: str(render(None, "", dict(fields))).encode("utf-8", "backslashreplace")


def to_journal(descriptor: int) -> bool:
    """Whether that is the journal itself: JOURNAL_STREAM may be inherited by anybody."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _prioritized(render: Render) -> Render:
    """With the priority that the journal takes off again: it makes `journalctl -p` work."""
    return lambda fields: b"<%d>%b" % (_PRIORITIES[fields["level"]], render(fields))


class _Lines:
    """Writes each line with one system call, so that lines of several processes do not mix."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._dropped = 0

    def msg(self, fields: Fields) -> None:
        """Writes the line, or counts it as dropped."""
        content = self._render(fields) + b"\n"
        if self._dropped:
            note = {"level": "warning", "event": "log.dropped", "lines": self._dropped}
            line = {name: note.get(name, fields.get(name)) for name in (*_FIRST, "lines")}
            content = self._render(line) + b"\n" + content
        try:
            while content:
                content = content[os.write(1, content) :]
        except OSError:
            self._dropped += 1
        else:
            self._dropped = 0

    debug = info = warning = error = critical = exception = msg
