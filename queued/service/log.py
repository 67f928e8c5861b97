"""The service's log: one JSON object a line on standard output, or readable text on a terminal.

All events are listed here, as noun.past_verb, with what they mean. A log that nothing reads never
stops the service: lines are dropped, and the next line that can be written says how many.
"""

import os
import select
import socket
import stat
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
    "reload.started": "HUP came; the dispatcher reads the conf file again",
    "reload.finished": "the conf file was read again and its settings are in force",
    "reload.not_recorded": "`queued --reload` cannot be told how the reload ended",
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
    "settings.refused": "a stored setting is wrong; its value before stays in force",
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
_PATIENCE_S = 0.1  # so long a line waits for the reader of the log
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)


class LogOutput:
    """Where a process writes its log lines: from which level on, and in which style.

    `style` is json, console, or auto: console on a terminal.
    """

    def __init__(self, level: str, style: str) -> None:
        self._lines = _Lines(level, style)

    def configure(self, level: str, style: str) -> None:
        """Changes level and style for all loggers of this output."""
        self._lines.configure(level, style)

    def after_fork(self) -> None:
        """Forgets what the parent process dropped: the parent itself says so."""
        self._lines.forget()

    def log(self, **bound: object) -> Log:
        """Returns a logger of this process, with these fields on every line."""
        logger: Log = structlog.wrap_logger(
            self._lines,
            processors=[self._lines.filter, _line],
            wrapper_class=structlog.make_filtering_bound_logger("debug"),
            cache_logger_on_first_use=True,
        )
        return logger.bind(**bound, pid=os.getpid())


def _line(logger: object, method: str, fields: Fields) -> tuple[tuple[Fields], dict[str, Any]]:
    """Puts the same fields first on every line; `_Lines` renders them."""
    if "exc_info" in fields:
        fields = structlog.processors.format_exc_info(logger, method, fields)
    first = {
        "ts": times.iso(times.now_ms()),
        "level": _level(method),
        "event": fields.pop("event"),
    }
    return ({**first, **fields},), {}


def _level(method: str) -> str:
    return "error" if method == "exception" else method


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

    def __init__(self, level: str, style: str) -> None:
        self._output = _Output()
        self._dropped = 0
        self._rest = b""  # of a line that was written in part
        self.configure(level, style)

    def configure(self, level: str, style: str) -> None:
        """See `LogOutput.configure`."""
        console = style == "console" or (style == "auto" and sys.stdout.isatty())
        render = _for_people() if console else _json
        self._render = _prioritized(render) if to_journal(1) else render
        self._lowest = _PRIORITIES[level]

    def forget(self) -> None:
        """See `LogOutput.after_fork`."""
        self._dropped, self._rest = 0, b""

    def filter(self, _logger: object, method: str, fields: Fields) -> Fields:
        """Raises DropEvent for a line below the level."""
        if _PRIORITIES[_level(method)] > self._lowest:
            raise structlog.DropEvent
        return fields

    def msg(self, fields: Fields) -> None:
        """Writes the line, or counts it as dropped.

        A reader that is merely slow loses nothing; one that has stopped delays one line only.
        """
        line = self._render(fields) + b"\n"
        if self._dropped:
            line = self._dropped_note(fields) + line
        content, left = self._rest + line, b""
        try:
            left = self._output.write(content, 0.0 if self._dropped else _PATIENCE_S)
        except OSError:
            left = content
        begun = len(left) < len(line)  # what is left of a line must precede the next one
        self._rest = left if begun else left[: len(left) - len(line)]
        self._dropped = 0 if begun else self._dropped + 1

    def _dropped_note(self, fields: Fields) -> bytes:
        note = {"level": "warning", "event": "log.dropped", "lines": self._dropped}
        return self._render({k: note.get(k, fields.get(k)) for k in (*_FIRST, "lines")}) + b"\n"

    debug = info = warning = error = critical = exception = msg


class _Output:
    """Standard output, written without blocking.

    O_NONBLOCK belongs to the open file description, which other programs share with us: it must
    not be set there. A pipe or a terminal is opened once more, so that we have a description of
    our own; a socket can be asked for each packet. Where the second opening is forbidden (a pipe
    of another user, as under supervisord), poll(2) says if there is room before each piece of
    PIPE_BUF bytes, which a pipe takes whole. A file never blocks for its reader's sake.
    """

    def __init__(self) -> None:
        self._descriptor = 1
        self._socket: socket.socket | None = None
        self._piece = 1 << 30
        mode = os.fstat(1).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(1))
        elif stat.S_ISFIFO(mode) or os.isatty(1):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._descriptor = os.open("/proc/self/fd/1", flags)
            except OSError:
                self._piece = select.PIPE_BUF
        self._room = select.poll()
        self._room.register(self._descriptor, select.POLLOUT)

    def write(self, content: bytes, patience_s: float) -> bytes:
        """Returns what could not be written within the time. Raises OSError."""
        while content and self._room.poll(patience_s * 1000):
            try:
                content = content[self._write(content[: self._piece]) :]
            except BlockingIOError:
                return content
        return content

    def _write(self, content: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(content, socket.MSG_DONTWAIT)
        return os.write(self._descriptor, content)
