"""The supervisor: forks the dispatcher and the workers, restarts them, and turns signals into
decisions. It never opens the database and never waits for anything but its own poll.

    TERM, INT   drain: running jobs finish; a second one, or the end of the grace, ends them
"""

import gc
import os
import signal
import socket
from collections.abc import Callable
from enum import IntEnum

from queued.core import times
from queued.core.errors import Exit
from queued.core.settings import Settings
from queued.service import channel, processes
from queued.service.channel import (
    Applied,
    Drain,
    Fatal,
    Finish,
    Message,
    Ready,
    Roster,
    StopRequested,
    WorkerGone,
    WorkerStarted,
)
from queued.service.children import DISPATCHER, Child, Children
from queued.service.board import Board
from queued.service.log import Log
from queued.service.notify import Notify
from queued.service.spared import Spared
from queued.service.wake import Signals, Wake

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)

Closable = channel.Channel | socket.socket
RunDispatcher = Callable[[socket.socket, socket.socket], int]
RunWorker = Callable[[int, bytes, int], int]


class Stage(IntEnum):
    """How far the service is on its way out; it never goes back."""

    RUNNING = 0
    DRAINING = 1  # workers finish what they run
    STOPPING = 2  # workers end what they run
    FINISHING = 3  # no worker is left; the dispatcher records the rest
    ABANDONED = 4  # the dispatcher was told to end at once


_NEXT = {Stage.RUNNING: Stage.DRAINING, Stage.DRAINING: Stage.STOPPING}  # at a signal


class Supervisor:
    """The loop of the main process."""

    def __init__(
        self,
        *,
        settings: Settings,
        run_dispatcher: RunDispatcher,
        run_worker: RunWorker,
        board: Board,
        notify: Notify,
        log: Log,
    ) -> None:
        self._run_dispatcher = run_dispatcher
        self._run_worker = run_worker
        self._board = board
        self._notify = notify
        self._log = log
        self._pid = os.getpid()
        self._grace_s = settings.shutdown_grace
        self._children = Children(settings.workers)
        self._wake = Wake()
        self._signals = Signals(_HANDLED)
        self._listener = channel.listen()
        self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._dispatcher: channel.Channel | None = None
        self._stage = Stage.RUNNING
        self._deadline_s: float | None = None
        self._leaving: set[int] = set()  # workers that were told to finish and exit
        self._spared = Spared()
        self._fatal: Fatal | None = None
        self._announced = False

    def run(self) -> int:
        """Serves until it is told to stop and all children are gone; the exit code."""
        processes.become_subreaper()
        gc.freeze()  # children share what is never freed
        self._wake.add(self._signals.fileno(), self._obey)
        self._log.info("service.started", workers=self._children.workers)
        while True:
            self._reap()
            self._decide()
            if self._ended():
                return self._last_line()
            self._start_due()
            self._wake.wait(self._timeout_s())

    # What wakes it

    def _obey(self) -> None:
        for number in self._signals.take():
            if number in (signal.SIGTERM, signal.SIGINT):
                self._advance(_NEXT.get(self._stage, Stage.ABANDONED), signal.Signals(number).name)

    def _hear(self) -> None:
        if self._dispatcher is None:
            return
        for message in self._dispatcher.receive():
            match message:
                case Ready():
                    self._announce()
                case Applied():
                    self._children.workers = message.workers
                    self._grace_s = message.shutdown_grace_s
                case StopRequested() if self._stage is Stage.RUNNING:
                    self._advance(Stage.DRAINING, "worker stop")
                case Fatal():
                    self._fatal = message
        if self._dispatcher.closed:
            self._hang_up()

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._notify.ready()
            self._log.info("service.ready")

    # Decisions

    def _advance(self, stage: Stage, cause: str) -> None:
        """Takes the service a step further on its way out."""
        if stage <= self._stage:
            return
        self._stage = stage
        if stage is Stage.DRAINING:
            self._deadline_s = times.monotonic_s() + self._grace_s
            self._children.refill = False
            self._notify.stopping()
            self._log.info("service.draining", cause=cause, grace_s=self._grace_s)
            self._say(Drain())
        elif stage is Stage.STOPPING:
            self._deadline_s = None
            self._log.warning("service.stopping", cause=cause)
            self._signal(self._children.living_workers(), signal.SIGQUIT)
        elif stage is Stage.FINISHING:
            self._deadline_s = None
            self._say(Finish())
        elif stage is Stage.ABANDONED:
            self._children.redispatch = False
            self._log.warning("service.stopping", cause=cause, action="not all was recorded")
            self._signal(self._children.living(), signal.SIGKILL)

    def _decide(self) -> None:
        if self._fatal is not None and self._stage < Stage.STOPPING:
            self._children.refill = self._children.redispatch = False
            self._stage = Stage.STOPPING
            self._signal(self._children.living_workers(), signal.SIGQUIT)
        if self._stage is Stage.RUNNING:
            self._dismiss(self._children.surplus())
        elif self._stage is Stage.DRAINING:
            self._dismiss(self._children.living_workers())
            if self._deadline_s is not None and times.monotonic_s() >= self._deadline_s:
                self._advance(Stage.STOPPING, "the grace is over")
        if self._stage in (Stage.DRAINING, Stage.STOPPING) and not self._children.living_workers():
            self._advance(Stage.FINISHING, "no worker is left")

    def _dismiss(self, workers: list[Child]) -> None:
        """Tells each once to finish what it runs and to exit."""
        told = [child for child in workers if child.pid not in self._leaving]
        self._leaving |= {child.pid for child in told}
        self._signal(told, signal.SIGTERM)

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

    # Children

    def _reap(self) -> None:
        """Collects the dead; what a dead worker left is killed before its death is made known."""
        gone: list[tuple[Child, int]] = []
        while (found := _dead_child()) is not None:
            pid, status = found
            child = self._children.ended(pid, times.monotonic_s(), clean=status == 0)
            if child is not None:
                gone.append((child, status))
        workers = [(child, status) for child, status in gone if child.slot != DISPATCHER]
        if workers:
            runs = [self._board.read(child.slot) for child, status in workers if status != 0]
            self._kill_leftovers(runs)
        for child, status in gone:
            self._buried(child, status)

    def _buried(self, child: Child, status: int) -> None:
        expected = status == 0 and (child.pid in self._leaving or self._stage > Stage.RUNNING)
        write = self._log.info if expected else self._log.warning
        write(
            "child.exited" if status == 0 else "child.died",
            child=child.role,
            slot=child.slot,
            child_pid=child.pid,
            exit_code=status,
        )
        if child.slot == DISPATCHER:
            self._hear()  # its last words
            self._hang_up()
            if status == 0 and self._stage is Stage.FINISHING:
                self._children.redispatch = False
            return
        self._leaving.discard(child.pid)
        self._say(WorkerGone(worker=child.slot, pid=child.pid, clean=status == 0))

    def _kill_leftovers(self, runs: list[processes.RunName]) -> None:
        """What dead workers left is ours now: all that descends from us and that we did not fork.

        What a job left on purpose stays, unless its run is one of `runs`, which the dead were at.
        """
        killed = 0
        while left := [process for process in self._orphans() if not self._spare(process, runs)]:
            for process in left:
                killed += processes.send(process, signal.SIGKILL, lambda _: True)
            while _dead_child() is not None:
                pass
        if killed:
            self._log.warning("child.leftovers_killed", processes=killed)

    def _orphans(self) -> list[processes.Process]:
        own = {child.pid for child in self._children.living()}
        found = processes.descendants(os.getpid())
        return [p for p in found if p.parent == os.getpid() and p.pid not in own]

    def _spare(self, process: processes.Process, runs: list[processes.RunName]) -> bool:
        if process.zombie:
            return True
        if not self._spared.without([process]):
            return True
        left_on_purpose = processes.left_on_purpose(process.pid, runs)
        if left_on_purpose or not runs:  # a worker that left cleanly leaves only what it may
            self._spared.add([process])
        return left_on_purpose or not runs

    def _start_due(self) -> None:
        for slot in self._children.due(times.monotonic_s()):
            try:
                self._start_dispatcher() if slot == DISPATCHER else self._start_worker(slot)
            except OSError as error:
                wait_s = self._children.failed(slot, times.monotonic_s(), early=True)
                self._log.error(
                    "child.not_started", slot=slot, error=str(error), retry_in_s=max(wait_s, 0.1)
                )

    def _start_dispatcher(self) -> None:
        ours, theirs = channel.pair()
        with theirs:
            pid = self._fork(lambda: self._run_dispatcher(theirs, self._listener), close=[ours])
        self._dispatcher = channel.Channel(ours)
        self._wake.add(ours.fileno(), self._hear)
        self._record(DISPATCHER, pid)
        self._say(Roster(workers=[(c.slot, c.pid) for c in self._children.living_workers()]))
        if self._stage >= Stage.DRAINING:
            self._say(Drain())
        if self._stage >= Stage.FINISHING:
            self._say(Finish())

    def _start_worker(self, slot: int) -> None:
        address = self._listener.getsockname()
        pid = self._fork(
            lambda: self._run_worker(slot, address, self._lifeline[0]),
            close=[self._listener, *([self._dispatcher] if self._dispatcher else [])],
        )
        self._record(slot, pid)
        self._say(WorkerStarted(worker=slot, pid=pid))

    def _record(self, slot: int, pid: int) -> None:
        self._children.started(slot, pid, times.monotonic_s())
        role = "dispatcher" if slot == DISPATCHER else "worker"
        self._log.info("child.started", child=role, slot=slot, child_pid=pid)

    def _fork(self, run: Callable[[], int], close: list[Closable]) -> int:
        """Forks a child that closes what is not its own and exits with what `run` returns.

        Signals are blocked until the child has handlers of its own, so that none is lost.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        finally:
            if os.getpid() == self._pid:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid:
            return pid
        code = int(Exit.INTERNAL)
        try:
            signal.set_wakeup_fd(-1)
            os.close(self._lifeline[1])  # while we hold it, the children are not orphaned
            for own in close:
                own.close()
            code = run()
        except BaseException:
            self._log.exception("process.failed")
        finally:
            os._exit(code)

    def _say(self, message: Message) -> None:
        if self._dispatcher is not None:
            self._dispatcher.send(message)

    def _hang_up(self) -> None:
        if self._dispatcher is not None:
            self._wake.remove(self._dispatcher.fileno())
            self._dispatcher.close()
            self._dispatcher = None

    def _signal(self, children: list[Child], number: signal.Signals) -> None:
        """Children are ours to reap, so that their pids cannot be another's."""
        for child in children:
            os.kill(child.pid, number)

    def _timeout_s(self) -> float | None:
        waits = [at_s for at_s in (self._children.next_s(), self._deadline_s) if at_s is not None]
        if self._dispatcher is not None:
            self._dispatcher.flush()
            self._wake.writable(self._dispatcher.fileno(), wanted=self._dispatcher.backlog)
        return max(0.0, min(waits) - times.monotonic_s()) if waits else None


def _dead_child() -> tuple[int, int] | None:
    """The pid and wait status (exit code, or minus the signal) of a dead child; None if none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
