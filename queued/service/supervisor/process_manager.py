"""The supervisor's children with all system calls on them: forked, told, signalled, reaped, buried.

Which child lives and when the next is due is `children`'s to know; what is wanted of them is the
supervisor's.
"""

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from queued.core import times
from queued.service.ipc.messages import (
    Drain,
    Finish,
    Message,
    Roster,
    WorkerFaulty,
    WorkerGone,
    WorkerStarted,
)
from queued.service.ipc.scoreboard import DISPATCHER, Scoreboard
from queued.service.linux import procfs
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.killing import Found, Killed, kill_until_gone
from queued.service.linux.procfs import RunName
from queued.service.log import Log
from queued.service.supervisor.children import Child, Children
from queued.service.supervisor.forking import Forker
from queued.service.supervisor.orphan_reaper import OrphanReaper
from queued.service.supervisor.watchdog import Watchdog

if TYPE_CHECKING:
    from queued.service.ipc.channel import Channel

Hear = Callable[[list[Message]], None]
Ended = tuple[Child, int]  # with its exit code
_KILLING_S = 0.5  # so long for what the kernel is slow to end


class ProcessManager:
    """Who works for the supervisor. `hear` is called with what the dispatcher says."""

    def __init__(
        self, table: Children, forker: Forker, scoreboard: Scoreboard, loop: EventLoop, hear: Hear
    ) -> None:
        self.table = table
        self.leaving: set[int] = set()  # pids that were told to finish and exit
        self.unburied: list[Ended] = []  # dead workers; something that they left is alive
        self._forker = forker
        self._scoreboard = scoreboard
        self._cgroups = forker.cgroups
        self._loop = loop
        self._hear = hear
        self._reaper = OrphanReaper()
        self._dispatcher: Channel | None = None
        self._deaths: dict[int, WorkerGone] = {}  # the last of each slot, for another dispatcher
        self._watched = False
        self._draining = self._finishing = False

    def take_over(self) -> None:
        """Call it before any is started: what our own process has as children already may stay."""
        procfs.become_subreaper()
        self._reaper.exempt_all()

    # What is wanted of them

    def say(self, message: Message) -> None:
        """Tells the dispatcher, if there is one."""
        if self._dispatcher is not None:
            self._dispatcher.send(message)

    def dismiss(self, workers: list[Child]) -> None:
        """Tells each once to finish what it runs and to exit."""
        told = [child for child in workers if child.pid not in self.leaving]
        self.leaving |= {child.pid for child in told}
        self._signal(told, signal.SIGTERM)

    def drain(self) -> None:
        """Nothing new starts, and who exits is not replaced."""
        self._draining = True
        self.table.refill = False
        self.say(Drain())

    def end_jobs(self) -> None:
        """Workers end what they run."""
        self.table.refill = False
        self._scoreboard.stop()
        self._signal(self.table.living_workers(), signal.SIGQUIT)

    def give_up(self) -> None:
        """No dispatcher could do better: who owes it a result must not wait for the next."""
        self.table.redispatch = False
        if self._dispatcher is None:
            self._forker.disconnect_all()

    def finish(self) -> None:
        """No worker is left: the dispatcher records the rest and exits."""
        self._finishing = True
        self.say(Finish())

    def abandon(self) -> None:
        """Ends all at once."""
        self.table.redispatch = False
        self._signal(self.table.living(), signal.SIGKILL)

    def check(self, health: Watchdog, log: Log) -> bool:
        """Asks who is due to be asked, and kills who hangs; whether all have answered."""
        self._watched = True
        found = health.look(self.table.living(), times.monotonic_s())
        for child in found.hung:
            log.error("child.hung", **_names(child), action="killed and started again")
        self._signal(found.hung, signal.SIGKILL)
        self._signal(found.to_ask, signal.SIGUSR1)
        return found.well

    def _signal(self, children: list[Child], number: signal.Signals) -> None:
        """Children are ours to reap, so that their pids cannot be another's."""
        for child in children:
            os.kill(child.pid, number)

    # Their end

    def reap(self, log: Log) -> None:
        """Collects the dead; what a dead worker left is killed before its death is made known.

        If we may not kill it, its job waits until it has ended: our own child by now, it tells us.
        """
        self._go_on()
        gone, waited = self.unburied, len(self.unburied)
        self.unburied = []
        killed = self._end_leftovers(gone, log)
        new = gone[waited:]
        if not killed.complete and any(map(_was_lost, new)):
            action = "end them as their owner; they may have become another user's"
            pids = [process.pid for process in killed.left]
            log.error("child.leftovers_stay", pids=pids, action=action)
        for child, status in new:
            self._tell_end(child, status, log)
        for child, status in gone:
            if not killed.complete and _was_lost((child, status)):
                self.unburied.append((child, status))
            else:
                self._bury(child, status)
        self.table.held = {child.slot for child, _ in self.unburied}

    def _end_leftovers(self, gone: list[Ended], log: Log) -> Killed:
        """Adds those that have died to `gone`, and kills what they left."""
        if not gone and not _somebody_died():
            return Killed(0, [], unseen=False)
        killed = kill_until_gone(lambda: self._find_leftovers(gone), _KILLING_S)
        if self._cgroups is not None:
            self._cgroups.sweep(busy=self._runs_now)
        if killed.signalled:
            log.warning("child.leftovers_killed", processes=killed.signalled)
        return killed

    def _find_leftovers(self, gone: list[Ended]) -> Found:
        """Returns what the dead have left, by a scan after the last death: its orphans are there.

        Adds those that have died meanwhile to `gone`.
        """
        while True:
            found = self._reaper.scan({child.pid for child in self.table.living()})
            more = self._collect()
            gone += more
            if not more:
                break
        lost = self._lost(gone)
        left = self._reaper.leftovers(found, lost)
        grouped = Found([]) if self._cgroups is None else self._cgroups.kill(lost)
        return Found([*{*left, *grouped.own}], unseen=grouped.unseen)

    def _runs_now(self) -> list[RunName]:
        return [self._scoreboard.last_run(child.slot) for child in self.table.living_workers()]

    def _lost(self, gone: list[Ended]) -> list[RunName]:
        """Which runs the workers were at that died."""
        return [self._scoreboard.last_run(ended[0].slot) for ended in gone if _was_lost(ended)]

    def _go_on(self) -> None:
        """A worker that was stopped goes on: a command could do that to its parent, for ever.

        Where a watchdog asks, who hangs is replaced instead: it may hang again.
        """
        if self._watched:
            return
        workers = {child.pid for child in self.table.living_workers()}
        while (pid := procfs.stopped_child()) is not None:
            if pid in workers:
                os.kill(pid, signal.SIGCONT)

    def _collect(self) -> list[Ended]:
        gone: list[Ended] = []
        while _somebody_died():
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
            status = os.waitstatus_to_exitcode(wait_status)
            child = self.table.ended(pid, times.monotonic_s(), clean=status == 0)
            if child is not None:
                gone.append((child, status))
        return gone

    def _tell_end(self, child: Child, status: int, log: Log) -> None:
        dismissed = child.pid in self.leaving
        expected = status == 0 and (dismissed or self._draining or self._finishing)
        write = log.info if expected else log.warning
        event = "child.exited" if status == 0 else "child.died"
        write(event, **_names(child), exit_code=status)

    def _bury(self, child: Child, status: int) -> None:
        dismissed = child.pid in self.leaving
        self.leaving.discard(child.pid)
        if child.slot == DISPATCHER:
            self._listen()  # its last words
            self._hang_up()
            if not self.table.redispatch:
                self._forker.disconnect_all()
            if status == 0 and self._finishing and not dismissed:
                self.table.redispatch = False
        else:
            self._forker.disconnect(child.slot)
            gone = WorkerGone(
                worker=child.slot,
                pid=child.pid,
                clean=status == 0,
                begun=self._scoreboard.run_notes.last(child.slot),
                claims_before_s=float("inf"),
            )
            self.say(gone)
            # Later its pid may be another's.
            self._deaths[child.slot] = replace(gone, pid=0, claims_before_s=times.monotonic_s())

    # Their start

    def start_due(self, log: Log) -> None:
        """Forks who is due."""
        for slot in self.table.due(times.monotonic_s()):
            try:
                pid = self._start_dispatcher() if slot == DISPATCHER else self._start_worker(slot)
            except OSError as error:
                wait_s = self.table.failed(slot, times.monotonic_s(), early=True)
                fields = {"slot": slot, "error": str(error), "retry_in_s": max(wait_s, 0.1)}
                log.error("child.not_started", **fields)  # noqa: TRY400 - no defect of ours
            else:
                log.info("child.started", **_names(Child(slot, pid, 0)))

    def _start_dispatcher(self) -> int:
        pid, self._dispatcher = self._forker.dispatcher()
        self.table.started(DISPATCHER, pid, times.monotonic_s())
        self._loop.add(self._dispatcher.fileno(), self._listen)
        for gone in self._deaths.values():
            self.say(gone)
        living = self.table.living_workers()
        for child in living:
            self._introduce(child.slot, child.pid)
        self.say(Roster(workers=[child.slot for child in (*living, *map(_child, self.unburied))]))
        if self._draining:
            self.say(Drain())
        if self._finishing:
            self.say(Finish())
        return pid

    def _start_worker(self, slot: int) -> int:
        self._scoreboard.run_notes.make_room(slot)
        pid = self._forker.worker(slot, self._dispatcher)
        self.table.started(slot, pid, times.monotonic_s())
        self._introduce(slot, pid)
        return pid

    def _introduce(self, slot: int, pid: int) -> None:
        """Gives the dispatcher, if there is one, the connection to a worker."""
        if self._dispatcher is not None:
            started = WorkerStarted(worker=slot, pid=pid)
            self._dispatcher.send_socket(started, self._forker.worker_socket(slot))

    # The dispatcher

    def _listen(self) -> None:
        if self._dispatcher is None:
            return
        self._hear(self._dispatcher.receive())
        if self._dispatcher.closed:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._dispatcher is not None:
            self._loop.remove(self._dispatcher.fileno())
            self._dispatcher.close()
            self._dispatcher = None

    def replace(self, faulty: WorkerFaulty) -> None:
        """Kills a worker that breaks the protocol; it is replaced like any dead one."""
        wrong = [c for c in self.table.living_workers() if c.pid == faulty.pid]
        self._signal(wrong, signal.SIGKILL)

    def flush(self) -> None:
        """Sends what the dispatcher had no room for; call it before each sleep."""
        if self._dispatcher is not None:
            self._dispatcher.flush_with(self._loop)


def _somebody_died() -> bool:
    try:
        return procfs.dead_child() is not None
    except ChildProcessError:
        return False


def _child(ended: Ended) -> Child:
    return ended[0]


def _was_lost(ended: Ended) -> bool:
    """Whether a worker died at its work, and not at the end of it."""
    child, status = ended
    return status != 0 and child.slot != DISPATCHER


def _names(child: Child) -> dict[str, object]:
    return {"child": child.role, "slot": child.slot, "child_pid": child.pid}
