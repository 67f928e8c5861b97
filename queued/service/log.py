"""The service's log: one JSON object per line on standard output, or text on a terminal.

Under systemd each line is an entry of the journal, which has the JSON as its message.
`EVENTS` lists all events with their meanings; their names are a noun and what happened to it. If no
process reads the log, the service goes on and drops lines; the next line that can be written is
preceded by their number.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec
import structlog

from queued.core import times
from queued.service import log_text
from queued.service.log_file import LogFile
from queued.service.log_journal import Journal, to_journal
from queued.service.log_stdout import StandardOutput

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
    "queue.suspended": "`queue pause --suspend`: the running jobs of this queue are frozen",
    "queue.paused": "`queue pause`: the service claims no jobs of this queue until `queue resume`",
    "queue.resumed": "`queue resume`: the service claims jobs of this queue again",
    "queue.unserved": "for a minute, ready jobs have required `labels` that no live service has",
    "host.drained": "`host drain`: the service claims no jobs until `host resume`",
    "host.resumed": "`host resume`: the service claims jobs again",
    "reload.started": "HUP was received; the dispatcher reads the conf file again",
    "reload.finished": "the settings of the conf file are in force",
    "reload.not_recorded": "the file that `queued --reload` waits for could not be written",
    "reload.refused": "the conf file is not valid; no setting was changed",
    "child.hung": "a child has not answered two pings; it and its run are killed",
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
    "job.start_refused": "no process, memory or descriptor for a run; tried again",
    "job.cgroup_failed": "no control group could be made for a run; the run starts without one",
    "job.unkillable": "processes of a run cannot be ended; the worker tries again until they end",
    "job.printed": "a line of a command's output; only with the setting log_output",
    "job.completed": "the command exited with code 0; the job is completed",
    "job.retrying": "a run failed; the job runs again at `next_run_at`",
    "job.deferred": "the exit code is in `defer_on`; the job runs again at `next_run_at`",
    "job.dead": "a run failed, and the job does not run again; `error` has the end of its stderr",
    "job.cancelled": "a run ended because its job was cancelled, or with a code in `cancel_on`",
    "job.interrupted": "the service ended a run, or its worker died before it; this does not count",
    "job.claim_lost": "a result was dropped, because its claim is no longer in force",
    "job.claim_restored": "a claim that was lost in a failover was recorded again; its run goes on",
    "job.missing": "a running job was lost in a failover, although it was acknowledged",
    "job.signal_refused": "a request names a signal that does not exist; nothing was sent",
    "jobs.pruned": "ended jobs that were older than their retention were removed",
    "job.returned": "a worker gave back a job that it had not started; the job is ready again",
    "schedule.fired": "a job was enqueued because its schedule was due at `scheduled_at`",
    "schedule.skipped": "a schedule was due while another job was in the way; see `reason`",
    "schedule.missed": "a schedule was not fired at its times from `since` on; see catch_up",
    "schedule.refused": "a schedule cannot be used, or its queue takes no new jobs; see `error`",
    "schedule.not_applied": "a schedule of the conf file has the name of one of `schedule add`",
    "schedules.applied": "schedules of the conf file were added, changed or removed",
    "settings.applied": "settings have changed; the new values are in force",
    "settings.refused": "a stored setting is not valid; the previous value stays in force",
    "clock.shifted": "the wall clock was set; the due times of retries were moved as well",
    "database.locked": "another program holds a lock of the database, or its server is silent",
    "database.old_snapshot": "a session on the server has kept one snapshot for a minute",
    "database.wal_growing": "another program keeps a transaction open, so that the WAL grows",
    "database.refused": "a transaction failed; the dispatcher tries it again",
    "database.recovered": "a transaction succeeded after `database.refused`",
    "database.failed_over": "the server may lack commits; no job is claimed for `quarantine_s`",
    "database.trusted": "the leases from before the failover are over; jobs are claimed again",
    "database.watch_missing": "inotify is not available; the database is read at intervals",
    "instance.not_rescued": "a dead instance cannot be cleaned up; its jobs wait",
    "instance.rescued": "the processes of a dead instance were killed and its claims settled",
    "instance.taken_over": "a service on another host lost its lease; its claims were settled",
    "lease.runs_killed": "the warden killed runs because the lease is over or the service is dead",
    "lease.fence_started": "the setting fence_command was started for runs that cannot be killed",
    "lease.fence_failed": "the setting fence_command could not be started, or has failed",
    "lease.runs_outlive": "the warden cannot kill a run; another host may start its job again",
    "log.dropped": "lines before this one could not be written; `lines` is their number",
    "process.failed": "an internal error; the line has the traceback",
    "process.limited": "another process had lowered resource limits of this one (prlimit)",
}

Fields = MutableMapping[str, Any]
Render = Callable[[Fields], bytes]
Log = structlog.typing.FilteringBoundLogger

_FIRST = ("ts", "level", "event", "instance", "role", "pid")  # the first fields of each line
_PATIENCE_S = 0.1  # how long a line waits for room in the pipe
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # sd-daemon(3)


class LogOutput:
    """The log of a process, with the lowest level that is written and the style of its lines.

    `style` is json, console, or auto, which means console on a terminal. `file` is the log file
    that standard output is, if it belongs to the service.
    """

    def __init__(self, level: str, style: str, file: LogFile | None = None) -> None:
        self._lines = _Lines(level, style, file)

    def configure(self, level: str, style: str, max_file_bytes: int) -> None:
        """Changes level, style and file size for all loggers of this output; reopens a moved file.

        After this call no process keeps a file open that logrotate has moved and will delete.
        """
        self._lines.configure(level, style)
        if self._lines.file is not None:
            self._lines.file.max_bytes = max_file_bytes
        self.follow()

    def follow(self) -> None:
        """Reopens a log file that was moved."""
        if self._lines.file is not None:
            self._lines.file.follow()

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


def _text(fields: Fields) -> bytes:
    shown = {name: _shown(name, value) for name, value in fields.items()}
    return log_text.text(shown).encode("utf-8", "backslashreplace")


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


def _journal() -> Journal | None:
    """Returns the journal if it has a socket; else the journal reads stdout."""
    try:
        return Journal()
    except OSError:
        return None


class _Lines:
    """Writes each line by one system call, so that lines of several processes do not mix."""

    def __init__(self, level: str, style: str, file: LogFile | None) -> None:
        self.file = file
        self._output = StandardOutput()
        self._journalled = to_journal(1)
        self._journal = _journal() if self._journalled else None
        self._dropped = 0
        self._rest = b""  # of a line that was written in part
        self.configure(level, style)

    def configure(self, level: str, style: str) -> None:
        """See `LogOutput.configure`."""
        console = style == "console" or (style == "auto" and sys.stdout.isatty())
        self._render: Render = _text if console else _json
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
        if self.file is not None:
            self.file.follow()
        if self._journal is None or not self._to_journal(self._journal, fields):
            self._to_stdout(fields)

    def _to_journal(self, journal: Journal, fields: Fields) -> bool:
        """Returns whether the journal takes lines at its socket; else stdout leads to it, too."""
        try:
            if self._dropped:
                self._send(journal, self._dropped_note(fields), 0.0)
                self._dropped = 0
            self._send(journal, fields, _PATIENCE_S)
        except BlockingIOError:
            self._dropped += 1
        except OSError:
            return False
        return True

    def _send(self, journal: Journal, fields: Fields, patience_s: float) -> None:
        priority = _PRIORITIES[fields["level"]]
        journal.send(self._render(fields).decode(), priority, fields, patience_s=patience_s)

    def _to_stdout(self, fields: Fields) -> None:
        line = self._line(fields)
        if self._dropped:
            line = self._line(self._dropped_note(fields)) + line
        content, left = self._rest + line, b""
        try:
            left = self._output.write(content, 0.0 if self._dropped else _PATIENCE_S)
        except OSError:
            left = content
        begun = len(left) < len(line)  # the rest of a line must precede the next line
        self._rest = left if begun else left[: len(left) - len(line)]
        self._dropped = 0 if begun else self._dropped + 1

    def _line(self, fields: Fields) -> bytes:
        """Returns the line, where stdout is the journal with the prefix that sets its priority."""
        prefix = b"<%d>" % _PRIORITIES[fields["level"]] if self._journalled else b""
        return prefix + self._render(fields) + b"\n"

    def _dropped_note(self, fields: Fields) -> Fields:
        note = {"level": "warning", "event": "log.dropped", "lines": self._dropped}
        return {name: note.get(name, fields.get(name)) for name in (*_FIRST, "lines")}

    debug = info = warning = error = critical = exception = msg
