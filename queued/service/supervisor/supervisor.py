"""The supervisor: restarts the dispatcher and the workers when they die, and handles signals.

It never opens the database, and blocks only in the wait of its event loop.

    TERM, INT    drain: running jobs finish; a second one, or the end of the grace, ends them
    HUP          reload: the dispatcher reads the conf file again and applies it
    USR1         log a snapshot
    TTIN, TTOU   one worker more, one fewer, until the next HUP
"""

import gc
import os
import signal
from collections.abc import Callable
from functools import partial

from queued.core import times
from queued.core.errors import Exit
from queued.core.settings import SETTINGS
from queued.service.ipc.messages import (
    Applied,
    DeathsRecorded,
    Describe,
    Fatal,
    Load,
    Message,
    Ready,
    Reloaded,
    StopRequested,
    WorkerFaulty,
)
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.linux import pdeathsig
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.signals import Signals
from queued.service.supervisor.children import Children
from queued.service.supervisor.dispatcher_link import DispatcherLink
from queued.service.supervisor.forking import Forker, Programs
from queued.service.supervisor.health_check import HealthCheck
from queued.service.supervisor.process_manager import ProcessManager
from queued.service.supervisor.reload import ReloadFile
from queued.service.supervisor.sd_notify import SdNotify, watchdog_s
from queued.service.supervisor.stage import Event, Stage, next_stage
from queued.service.supervisor.status import StatusReporter
from queued.service.supervisor.watchdog import Watchdog

_HANDLED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP,
    signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
_RECORD_S = 10.0  # how long a stop waits for results to be recorded after the last command
_STOP_INTERVAL_S = 0.5  # between two checks whether commands run, during a stop


class Supervisor:
    """The loop of the main process."""

    def __init__(self, *, programs: Programs, scoreboard: Scoreboard, notify: SdNotify) -> None:
        environment = dict(os.environ)
        self._programs = programs
        self._scoreboard = scoreboard
        self._log = programs.log("supervisor")
        self._status = StatusReporter(notify)
        self._extra = 0  # workers that TTIN and TTOU have added; negative: removed
        self._reloads = ReloadFile(environment)
        self._loop = EventLoop()
        self._signals = Signals(_HANDLED)
        pdeathsig.die_with_supervisord(environment)
        self._children = Children(programs.settings.workers, warded=programs.warded)
        self._dispatcher = DispatcherLink(self._loop, self._handle_messages)
        forker = Forker(programs)
        self._limits = forker.limits
        watchdog = Watchdog(watchdog_s(environment), scoreboard.answered_s)
        self._health = HealthCheck(self._children, watchdog)
        self._processes = ProcessManager(
            self._children, forker, scoreboard, self._dispatcher, self._health
        )
        self._processes.adopt()
        self._stage = Stage.RUNNING
        for_s = programs.until.for_s
        self._until_s = times.NEVER_S if for_s is None else times.monotonic_s() + for_s
        self._grace_end_s = times.NEVER_S
        self._leave_s = times.NEVER_S  # when the service ends although a killed child lives
        self._commands_ran_s = 0.0  # during a stop: when a command was last found running
        self._notify_again_s: float | None = None  # messages to systemd wait until then
        self._stopped_early = False  # before the flags of the service have ended it
        self._fatal: Fatal | None = None

    @property
    def served(self) -> bool:
        """Whether the service has been ready."""
        return self._status.announced

    def run(self) -> int:
        """Serves until a stop has ended all children; returns the exit code."""
        gc.freeze()  # so that a collection does not write to the memory that children share
        self._loop.add(self._signals.fileno(), self._handle_signals)
        self._write_reload(self._reloads.reset)
        self._log.info("service.started", workers=self._children.workers)
        while True:
            self._limits.restore()
            self._processes.reap(self._log)
            self._check_limits()
            self._advance_shutdown()
            if not self._children.serving() or times.monotonic_s() >= self._leave_s:
                self._processes.end_warden()
                return self._log_exit()
            self._processes.start_due(self._log)
            self._notify()
            self._dispatcher.flush()
            self._loop.wait(self._timeout_s())

    # Events

    def _handle_signals(self) -> None:
        for number in self._signals.drain():
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self._move(Event.SIGNAL, signal.Signals(number).name)
                case signal.SIGHUP:
                    self._reload()
                case signal.SIGUSR1:
                    self._describe()
                case signal.SIGTTIN:
                    self._resize(self._extra + 1)
                case signal.SIGTTOU:
                    self._resize(self._extra - 1)

    def _handle_messages(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Ready() if not self._status.announced:
                    self._status.ready()
                    self._log.info("service.ready")
                case Applied():
                    self._programs.apply(message.settings, message.file)
                    self._processes.reopen_log_of_warden()
                    self._resize(self._extra)
                case Reloaded():
                    self._end_reload(message)
                case DeathsRecorded():
                    self._dispatcher.on_deaths_recorded(message.number)
                case WorkerFaulty():
                    self._processes.kill_faulty(message)
                case Load():
                    self._status.load = message
                case StopRequested():
                    self._move(Event.DONE if message.done else Event.STOP_REQUESTED, message.done)
                case Fatal():
                    self._fatal = message

    # The shutdown

    def _advance_shutdown(self) -> None:
        """Makes the moves that deadlines, the end of the last worker and a fatal error cause."""
        now_s = times.monotonic_s()
        if self._fatal is not None:
            self._move(Event.FATAL)
            self._processes.stop_restarting()
        if now_s >= self._until_s:
            self._move(Event.TIME_OVER)
        if self._stage is Stage.RUNNING:
            self._processes.terminate_when_idle(self._children.surplus())
            return
        if self._stage is Stage.DRAINING:
            self._processes.terminate_when_idle(self._children.living_workers())
        if self._processes.runs_commands():
            self._commands_ran_s = now_s
            self._status.extend(now_s)
        if now_s >= self._grace_end_s:
            self._move(Event.GRACE_OVER)
        if not self._processes.has_workers():
            self._move(Event.NO_WORKER)
        if now_s >= self._commands_ran_s + _RECORD_S:
            self._move(Event.NOT_RECORDED)
        if self._stage is Stage.FINISHING and self._nothing_to_finish(now_s):
            self._processes.stop_restarting()

    def _nothing_to_finish(self, now_s: float) -> bool:
        """Returns whether all is recorded, and no dispatcher lives or can be started at once."""
        if self._children.dispatcher() is not None or self._children.due(now_s):
            return False
        return not self._processes.has_workers() and self._dispatcher.all_recorded()

    def _check_limits(self) -> None:
        """Ends the service if a child would inherit lower limits that cannot be restored."""
        if self._children.due(times.monotonic_s()) and (lowered := self._limits.lowered()):
            names = ", ".join(lowered)
            reason = f"another process has lowered its limits ({names}); start the service again"
            self._fatal = self._fatal or Fatal(exit_code=int(Exit.IO), reason=reason)

    def _move(self, event: Event, cause: str = "") -> None:
        """Moves to the stage that follows the event, and performs its entry action."""
        before, self._stage = self._stage, next_stage(self._stage, event)
        if self._stage is before:
            return
        now_s, cause = times.monotonic_s(), cause or event
        if before is Stage.RUNNING:
            self._commands_ran_s = now_s
            self._status.stopping()
            self._stopped_early = event in {Event.SIGNAL, Event.STOP_REQUESTED}
        match self._stage:
            case Stage.DRAINING:
                grace_s = self._programs.settings.shutdown_grace
                self._grace_end_s = now_s + grace_s
                self._log.info("service.draining", cause=cause, grace_s=grace_s)
                self._processes.drain()
            case Stage.STOPPING:
                self._log.warning("service.stopping", cause=cause)
                self._processes.end_jobs()
            case Stage.FINISHING:
                self._dispatcher.finish()
            case Stage.ABANDONED:
                self._log.warning("service.stopping", cause=cause, action="kills all children")
                self._processes.kill_all()
                self._leave_s = now_s + _RECORD_S

    def _log_exit(self) -> int:
        """Writes the last line of the service; returns its exit code."""
        failed = self._fatal
        if failed is None and self._stage is Stage.ABANDONED:
            reason = "not all was recorded; the next start settles the rest"
            failed = Fatal(exit_code=int(Exit.IO), reason=reason)
        if failed is not None:
            self._log.error("service.failed", error=failed.reason, exit_code=failed.exit_code)
            return failed.exit_code
        self._log.info("service.stopped")
        until = self._programs.until
        has_dead_jobs = until.strict and self._scoreboard.dead_jobs > 0
        stopped_early = until.drained and self._stopped_early
        return int(Exit.NO if has_dead_jobs or stopped_early else Exit.DONE)

    # Settings

    def _resize(self, extra: int) -> None:
        """Sets the number of workers. New ones start at once; surplus ones first end their runs."""
        limits, wanted = SETTINGS["workers"], self._programs.settings.workers
        workers = int(min(max(wanted + extra, limits.minimum), limits.maximum))
        self._extra = workers - wanted
        if workers != self._children.workers:
            self._log.info("service.resized", workers=workers, before=self._children.workers)
            self._children.workers = workers

    def _reload(self) -> None:
        if self._stage is not Stage.RUNNING:
            return
        self._status.reloading()
        self._write_reload(self._reloads.begin)
        self._log.info("reload.started")
        self._dispatcher.reload(self._reloads.begun)

    def _end_reload(self, answer: Reloaded) -> None:
        if answer.refused is None:
            self._resize(0)
            self._log.info("reload.finished")
        else:
            action = "correct the file and reload again; the previous settings stay in force"
            self._log.error("reload.refused", error=answer.refused, action=action)
        self._dispatcher.on_reloaded(answer.number)
        self._write_reload(partial(self._reloads.end, answer.number, answer.refused))
        if not self._reloads.pending:
            self._status.reloaded()

    def _write_reload(self, write: Callable[[], None]) -> None:
        """Writes the record that `queued --reload` waits for. The service goes on without it."""
        try:
            write()
        except OSError as error:
            action = "free space in the runtime directory, and reload again"
            self._log.error("reload.not_recorded", error=str(error), action=action)

    # Reports

    def _notify(self) -> None:
        """Sends the status line, and the watchdog's message if all children are healthy."""
        now_s = times.monotonic_s()
        jobs_run = bool(self._status.load.busy) or self._stage > Stage.RUNNING
        if self._health.check(self._log, jobs_run=jobs_run):
            self._status.healthy()
        self._status.status(self._status_line())
        self._notify_again_s = self._status.flush(now_s)

    def _status_line(self) -> str:
        workers, undead = self._children.living_workers(), self._health.undead()
        return self._status.line(self._stage, len(workers), undead)

    def _describe(self) -> None:
        living = self._children.living()
        self._log.info(
            "service.described",
            stage=self._stage.name.lower(),
            status=self._status_line(),
            workers_wanted=self._children.workers,
            children={child.name: child.pid for child in living},
            leaving=[child.name for child in living if child.pid in self._processes.leaving],
        )
        self._dispatcher.send(Describe())

    def _timeout_s(self) -> float | None:
        """Returns the seconds until the next deadline; None if only an event ends the wait."""
        now_s = times.monotonic_s()
        deadlines_s = (
            self._children.next_s(),
            self._health.next_s,
            self._notify_again_s,
            self._until_s if self._stage is Stage.RUNNING else now_s + _STOP_INTERVAL_S,
        )
        return times.left_s(min(at_s for at_s in deadlines_s if at_s is not None))
