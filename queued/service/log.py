"""The service's log: one JSON object per line on standard output, or text on a terminal.

`EVENTS` lists all events with their meanings; their names are a noun and what happened to it. If no
process reads the log, the service goes on and drops lines; the next line that can be written is
preceded by their number.
"""

import errno
import json
import logging
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
    "service.started": "the supervisor runs and will fork its children",
    "service.ready": "the database is open and a worker waits for work",
    "service.draining": "a stop was requested; running jobs may finish within shutdown_grace",
    "service.stopping": "running jobs are ended; `cause` says why",
    "service.stopped": "all children have exited; the last line of a service",
    "service.failed": "the service ends with an error; the last line of a service",
    "service.resized": "the number of workers was changed by a signal or a setting",
    "service.described": "USR1 was received: the children of the supervisor",
    "queue.described": "USR1 was received: the number of jobs by state, and the running jobs",
    "reload.started": "HUP was received; the dispatcher reads the conf file again",
    "reload.finished": "the settings of the conf file are in force",
    "reload.not_recorded": "the file that `queued --reload` waits for could not be written",
    "reload.refused": "the conf file is not valid; no setting was changed",
    "child.hung": "a child does not answer the watchdog; it is killed",
    "child.started": "a worker or the dispatcher was forked",
    "child.exited": "a child exited with code 0",
    "child.died": "a child exited with an error or was killed by a signal",
    "child.not_started": "a child could not be forked; the supervisor tries again later",
    "child.continued": "another process had stopped a child (SIGSTOP); logged once for each child",
    "child.leftovers_killed": "processes that a dead worker left were killed",
    "child.leftovers_stay": "processes that a dead worker left cannot be killed; its job waits",
    "worker.orphaned": "the supervisor or dispatcher is missing; the worker ends its run and exits",
    "worker.message_ignored": "a worker received a message about a run that has ended",
    "worker.faulty": "a worker sent an invalid message; it is killed and replaced",
    "job.claimed": "a job was assigned to a worker",
    "job.started": "a worker starts the command of a run",
    "job.start_refused": "no process, memory or descriptor for a run; the worker tries again",
    "job.cgroup_failed": "no control group could be made for a run; the run starts without one",
    "job.unkillable": "processes of a run cannot be ended; the worker tries again until they end",
    "job.printed": "a line of a command's output; only with the setting log_output",
    "job.completed": "the command exited with code 0; the job is completed",
    "job.retrying": "a run failed; the job runs again at `next_run_at`",
    "job.deferred": "the exit code is in `defer_on`; the job runs again at `next_run_at`",
    "job.dead": "a run failed, and the job does not run again; `error` has the end of its stderr",
    "job.cancelled": "a run ended because its job was cancelled",
    "job.interrupted": "the service ended a run, or its worker died before it; this does not count",
    "job.claim_lost": "a result was dropped, because its claim is no longer in force",
    "jobs.pruned": "ended jobs that were older than their retention were removed",
    "job.returned": "a worker gave back a job that it had not started; the job is ready again",
    "settings.applied": "settings have changed; the new values are in force",
    "settings.refused": "a stored setting is not valid; the previous value stays in force",
    "clock.shifted": "the wall clock was set; the due times of retries were moved as well",
    "database.locked": "another program holds the write lock of the database",
    "database.wal_growing": "another program keeps a transaction open, so that the WAL grows",
    "database.refused": "a transaction failed; the dispatcher tries it again",
    "database.recovered": "a transaction succeeded after `database.refused`",
    "database.watch_missing": "inotify is not available; the database is read at intervals",
    "instance.not_rescued": "a dead instance cannot be cleaned up; its jobs wait",
    "instance.rescued": "the processes of a dead instance were killed and its claims settled",
    "log.dropped": "lines before this one could not be written; `lines` is their number",
    "process.failed": "an internal error; the line has the traceback",
}

Fields = MutableMapping[str, Any]
Render = Callable[[Fields], bytes]
Log = structlog.typing.FilteringBoundLogger

_FIRST = ("ts", "level", "event", "instance", "role", "pid")  # the first fields of each line
_PATIENCE_S = 0.1  # how long a line waits for room in the pipe
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)


class LogOutput:
    """The log of a process, with the lowest level that is written and the style of its lines.

    `style` is json, console, or auto, which means console on a terminal.
    """

    def __init__(self, level: str, style: str) -> None:
        self._lines = _Lines(level, style)

    def configure(self, level: str, style: str) -> None:
        """Changes level and style for all loggers of this output."""
        self._lines.configure(level, style)

    def after_fork(self) -> None:
        """Resets the count of dropped lines, which the parent process reports itself."""
        self._lines.forget()

    def log(self, **bound: object) -> Log:
        """Returns a logger of this process, with these fields on every line."""
        logger: Log = structlog.wrap_logger(
            self._lines,
            processors=[self._lines.filter, _line],
            wrapper_class=_Logger,
            cache_logger_on_first_use=True,
        )
        return logger.bind(**bound, pid=os.getpid())


class _Logger(structlog.make_filtering_bound_logger("debug")):  # type: ignore[misc]
    """A logger whose level may change. A debug line, one for each run, costs little while off."""

    def is_enabled_for(self, level: int) -> bool:
        """Returns whether debug lines are written; lines of a higher level are filtered later."""
        return level > logging.DEBUG or self._logger.debugs

    def debug(self, event: str, **fields: object) -> None:
        """Logs the line, if the level is debug."""
        if self._logger.debugs:
            super().debug(event, **fields)


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
    return _escaped(msgspec.json.encode(fields, enc_hook=str).decode()).encode()


def _for_people() -> Render:
    renderer = structlog.dev.ConsoleRenderer(pad_event_to=24, colors=sys.stdout.isatty())

    def render(fields: Fields) -> bytes:
        shown = {name: _shown(name, value) for name, value in fields.items()}
        return str(renderer(None, "", shown)).encode("utf-8", "backslashreplace")

    return render


def _shown(name: str, value: object) -> object:
    """Returns the value as text that is safe on a terminal; the lines of a traceback stay lines."""
    if not isinstance(value, str):
        return value
    return "\n".join(map(_escaped, value.split("\n"))) if name == "exception" else _escaped(value)


def _escaped(text: str) -> str:
    """Returns the text with the JSON escape of each character that is not printable.

    A job chooses its id and its output: control characters would reach the terminal of a reader.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def to_journal(descriptor: int) -> bool:
    """Returns whether the descriptor is the journal; JOURNAL_STREAM alone may be inherited."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _prioritized(render: Render) -> Render:
    """Adds the priority prefix, which the journal removes, so that `journalctl -p` works."""
    return lambda fields: b"<%d>%b" % (_PRIORITIES[fields["level"]], render(fields))


class _Lines:
    """Writes each line by one system call, so that lines of several processes do not mix."""

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
        self.debugs = level == "debug"

    def forget(self) -> None:
        """See `LogOutput.after_fork`."""
        self._dropped, self._rest = 0, b""

    def filter(self, _logger: object, method: str, fields: Fields) -> Fields:
        """Raises DropEvent for a line below the level."""
        if _PRIORITIES[_level(method)] > self._lowest:
            raise structlog.DropEvent
        return fields

    def msg(self, fields: Fields) -> None:
        """Writes the line, or counts it as dropped if the reader makes no room in time.

        Only the first line that is dropped waits, so that a stopped reader delays one line.
        """
        line = self._render(fields) + b"\n"
        if self._dropped:
            line = self._dropped_note(fields) + line
        content, left = self._rest + line, b""
        try:
            left = self._output.write(content, 0.0 if self._dropped else _PATIENCE_S)
        except OSError:
            left = content
        begun = len(left) < len(line)  # the rest of a line must precede the next line
        self._rest = left if begun else left[: len(left) - len(line)]
        self._dropped = 0 if begun else self._dropped + 1

    def _dropped_note(self, fields: Fields) -> bytes:
        note = {"level": "warning", "event": "log.dropped", "lines": self._dropped}
        return self._render({k: note.get(k, fields.get(k)) for k in (*_FIRST, "lines")}) + b"\n"

    debug = info = warning = error = critical = exception = msg


class _Output:
    """Standard output, written without blocking.

    O_NONBLOCK must not be set on the open file description, because other programs share it. A
    pipe or a terminal is opened once more, which makes a description of our own. A socket takes a
    flag with each packet. If a pipe may not be opened again (it is another user's, as under
    supervisord), each piece of PIPE_BUF bytes is written with RWF_NOWAIT after poll(2) has found
    room. Linux before 6.4 knows that flag only for files: there a write can block if another
    process fills the pipe between the two calls. A file never blocks because of its reader.
    """

    def __init__(self) -> None:
        self._descriptor = 1
        self._socket: socket.socket | None = None
        self._piece = 1 << 30  # bytes to write at once
        self._shared = False  # whether other programs share the open file description
        mode = os.fstat(1).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(1))
        elif stat.S_ISFIFO(mode) or os.isatty(1):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._descriptor = os.open("/proc/self/fd/1", flags)
            except OSError:
                self._piece, self._shared = select.PIPE_BUF, True
        self._blocks = not stat.S_ISREG(mode)
        self._room = select.poll()
        self._room.register(self._descriptor, select.POLLOUT)

    def write(self, content: bytes, patience_s: float) -> bytes:
        """Returns what could not be written within the time. Raises OSError."""
        while content and (not self._blocks or self._room.poll(patience_s * 1000)):
            try:
                content = content[self._write(content[: self._piece]) :]
            except BlockingIOError:
                return content
        return content

    def _write(self, content: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(content, socket.MSG_DONTWAIT)
        if self._shared:
            try:
                return os.pwritev(self._descriptor, [content], -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
        return os.write(self._descriptor, content)
