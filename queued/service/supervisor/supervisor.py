"""The supervisor: keeps the dispatcher and the workers alive, and turns signals into decisions.

It never opens the database and never waits for anything but its own poll.

    TERM, INT    drain: running jobs finish; a second one, or the end of the grace, ends them
    HUP          read the conf file again; workers are renewed once they are idle
    USR1         log a snapshot
    TTIN, TTOU   one worker more, one fewer
"""

import gc
import os
import signal
from collections.abc import Callable
from functools import partial

from queued.core import times
from queued.core.errors import Exit, QueuedError
from queued.core.settings import SETTINGS
from queued.service.ipc.messages import (
    Applied,
    Describe,
    Fatal,
    Load,
    Message,
    Ready,
    Renew,
    StopRequested,
    WorkerFaulty,
)
from queued.service.ipc.scoreboard import DISPATCHER, Scoreboard
from queued.service.linux import pdeathsig
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.signals import Signals
from queued.service.supervisor.children import Children
from queued.service.supervisor.forking import Forker, Programs
from queued.service.supervisor.process_manager import ProcessManager
from queued.service.supervisor.reload import ReloadFile, Renewal
from queued.service.supervisor.sd_notify import SdNotify, watchdog_s
from queued.service.supervisor.status import Stage, StatusReporter
from queued.service.supervisor.watchdog import Watchdog

_HANDLED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP,
    signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
_NEXT = {Stage.RUNNING: Stage.DRAINING, Stage.DRAINING: Stage.STOPPING}  # at a signal


class Supervisor:
    """The loop of the main process."""

    def __init__(self, *, programs: Programs, scoreboard: Scoreboard, notify: SdNotify) -> None:
        environment = dict(os.environ)
        self._programs = programs
        self._log = programs.log("supervisor")
        self._status = StatusReporter(notify)
        self._grace_s = programs.settings.shutdown_grace
        self._wanted = programs.settings.workers
        self._extra = 0  # workers more or fewer than the settings want, by signal
        self._watchdog = Watchdog(watchdog_s(environment), scoreboard.answered_s)
        self._reloads = ReloadFile(environment)
        self._renewal: Renewal | None = None
        self._loop = EventLoop()
        self._signals = Signals(_HANDLED)
        pdeathsig.die_with_supervisord(environment)
        self._children = Children(self._wanted)
        self._processes = ProcessManager(
            self._children, Forker(programs), scoreboard, self._loop, self._hear
        )
        self._processes.take_over()
        self._ready = False  # whether the dispatcher of now is
        self._stage = Stage.RUNNING
        self._deadline_s: float | None = None
        self._fatal: Fatal | None = None

    @property
    def served(self) -> bool:
        """Whether it was ready once."""
        return self._status.announced

    def run(self) -> int:
        """Serves until it is told to stop and all children are gone; the exit code."""
        gc.freeze()  # children share what is never freed
        self._loop.add(self._signals.fileno(), self._obey)
        self._record(self._reloads.reset)
        self._log.info("service.started", workers=self._children.workers)
        while True:
            self._processes.reap(self._log)
            self._decide()
            if self._ended():
                return self._last_line()
            self._processes.start_due(self._log)
            self._renew()
            self._tell()
            self._loop.wait(self._timeout_s())

    # What wakes it

    def _obey(self) -> None:
        for number in self._signals.drain():
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    cause = signal.Signals(number).name
                    self._advance(_NEXT.get(self._stage, Stage.ABANDONED), cause)
                case signal.SIGHUP:
                    self._reload()
                case signal.SIGUSR1:
                    self._describe()
                case signal.SIGTTIN:
                    self._resize(self._extra + 1)
                case signal.SIGTTOU:
                    self._resize(self._extra - 1)

    def _hear(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Ready():
                    self._ready = True
                    self._announce()
                case Applied():
                    self._wanted, self._grace_s = message.workers, message.shutdown_grace_s
                    self._resize(self._extra)
                case WorkerFaulty():
                    self._processes.replace(message)
                case Load():
                    self._status.load = message
                case StopRequested() if self._stage is Stage.RUNNING:
                    self._advance(Stage.DRAINING, "worker stop")
                case Fatal():
                    self._fatal = message

    def _announce(self) -> None:
        if not self._status.announced:
            self._status.ready()
            self._log.info("service.ready")

    # Decisions

    def _advance(self, stage: Stage, cause: str) -> None:
        """Takes the service a step further on its way out."""
        if stage <= self._stage:
            return
        self._stage, self._deadline_s = stage, None
        match stage:
            case Stage.DRAINING:
                self._deadline_s = times.monotonic_s() + self._grace_s
                self._status.stopping()
                self._log.info("service.draining", cause=cause, grace_s=self._grace_s)
                self._processes.drain()
            case Stage.STOPPING:
                self._log.warning("service.stopping", cause=cause)
                self._processes.end_jobs()
            case Stage.FINISHING:
                self._status.extended()
                self._processes.finish()
            case Stage.ABANDONED:
                self._log.warning("service.stopping", cause=cause, action="not all was recorded")
                self._processes.abandon()

    def _decide(self) -> None:
        if self._fatal is not None:
            self._processes.give_up()
            self._advance(Stage.STOPPING, "the dispatcher cannot go on")
        if self._stage is Stage.RUNNING:
            self._processes.dismiss(self._children.surplus())
        elif self._stage is Stage.DRAINING:
            self._processes.dismiss(self._children.living_workers())
            if self._deadline_s is not None and times.monotonic_s() >= self._deadline_s:
                self._advance(Stage.STOPPING, "the grace is over")
        working = self._children.living_workers() or self._processes.unburied
        if self._stage in (Stage.DRAINING, Stage.STOPPING) and not working:
            self._advance(Stage.FINISHING, "no worker is left")

    def _resize(self, extra: int) -> None:
        """More workers at once; fewer once those that are too many have finished their jobs."""
        limits = SETTINGS["workers"]
        workers = int(min(max(self._wanted + extra, limits.minimum), limits.maximum))
        self._extra = workers - self._wanted
        if workers != self._children.workers:
            self._log.info("service.resized", workers=workers, before=self._children.workers)
            self._children.workers = workers

    def _ended(self) -> bool:
        return not self._children.redispatch and not self._children.living()

    def _last_line(self) -> int:
        if self._fatal is not None:
            self._log.error(
                "service.failed", error=self._fatal.reason, exit_code=self._fatal.exit_code
            )
            return self._fatal.exit_code
        self._log.info("service.stopped")
        return int(Exit.DONE)

    # New settings

    def _reload(self) -> None:
        """Takes the conf file if it is good, and begins to renew the children."""
        if self._stage is not Stage.RUNNING:
            return
        self._status.reloading()
        self._record(self._reloads.begin)
        try:
            self._programs.reload()
        except QueuedError as error:
            self._log.error("reload.refused", error=str(error), action="the old settings stay")
            self._end_reload(refused=str(error))
            return
        self._log = self._programs.log("supervisor")
        self._log.info("reload.started")
        self._extra, self._ready = 0, False
        self._renewal = Renewal(self._children.living())

    def _renew(self) -> None:
        """First the dispatcher, so that new workers find it; then one worker after the other."""
        if self._renewal is None or self._stage is not Stage.RUNNING:
            return
        old = self._renewal.old(self._children.living())
        if old and old[0].slot == DISPATCHER:
            if old[0].pid not in self._processes.leaving:
                self._processes.leaving.add(old[0].pid)
                self._processes.say(Renew())
        elif old:
            workers = self._children.living_workers()
            leaving, busy = self._processes.leaving, self._status.load.busy
            self._processes.dismiss(self._renewal.next(workers, leaving, busy))
        elif self._ready and self._children.next_s() is None:
            self._renewal = None
            self._log.info("reload.finished")
            self._end_reload()

    def _end_reload(self, refused: str = "") -> None:
        if self._renewal is None:
            self._status.reloaded()
        self._record(partial(self._reloads.end, refused))

    def _record(self, write: Callable[[], None]) -> None:
        """For who waits for a reload; jobs do not depend on it."""
        try:
            write()
        except OSError as error:
            action = "make room in the runtime directory, and reload again"
            self._log.error("reload.not_recorded", error=str(error), action=action)

    # What it tells

    def _tell(self) -> None:
        """Says how it is where somebody listens, and that it is well where somebody asks."""
        now_s = times.monotonic_s()
        if self._watchdog.due(now_s) and self._processes.check(self._watchdog, self._log):
            self._status.well()
        workers = len(self._children.living_workers())
        self._status.status(self._stage, workers, reloading=self._renewal is not None)
        self._status.extend(now_s)

    def _describe(self) -> None:
        living = self._children.living()
        self._log.info(
            "service.described",
            stage=self._stage.name.lower(),
            status=self._status.line(self._stage, len(self._children.living_workers())),
            workers_wanted=self._children.workers,
            children={child.slot: child.pid for child in living},
            leaving=[child.slot for child in living if child.pid in self._processes.leaving],
        )
        self._processes.say(Describe())

    def _timeout_s(self) -> float | None:
        """Until the next deadline; None: a signal or the dispatcher will wake us."""
        self._processes.flush()
        deadlines_s = (
            self._children.next_s(),
            self._deadline_s,
            self._watchdog.next_s,
            self._status.next_s(),
        )
        waits_s = [at_s for at_s in deadlines_s if at_s is not None]
        return max(0.0, min(waits_s) - times.monotonic_s()) if waits_s else None
