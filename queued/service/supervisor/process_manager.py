"""The system calls on the supervisor's children: fork, signal, reap, and the dispatcher's channel.

The table of `children` knows which child lives and when the next is due; the supervisor decides
what the children are to do.
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
    Reload,
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

OnMessages = Callable[[list[Message]], None]
Ended = tuple[Child, int]  # with its exit code
_KILLING_S = 0.5  # the kernel may be slow to end a process


class ProcessManager:
    """`on_messages` is called with the messages of the dispatcher."""

    def __init__(
        self,
        table: Children,
        forker: Forker,
        scoreboard: Scoreboard,
        loop: EventLoop,
        on_messages: OnMessages,
    ) -> None:
        self.table = table
        self.leaving: set[int] = set()  # pids that were told to finish and exit
        self.awaiting_cleanup: list[Ended] = []  # dead workers; something that they left is alive
        self._forker = forker
        self._scoreboard = scoreboard
        self._cgroups = forker.cgroups
        self._loop = loop
        self._on_messages = on_messages
        self._reaper = OrphanReaper()
        self._dispatcher: Channel | None = None
        self._deaths: list[WorkerGone] = []  # that no dispatcher has recorded yet
        self._death_number = 0
        self._reload: Reload | None = None  # that no dispatcher has answered yet
        self._watched = False
        self._draining = self._finishing = False

    def take_over(self) -> None:
        """Call it before the first start: children that this process has already may stay."""
        procfs.become_subreaper()
        self._reaper.exempt_all()

    # Orders to them

    def send_dispatcher(self, message: Message) -> None:
        """Sends to the dispatcher, if there is one."""
        if self._dispatcher is not None:
            self._dispatcher.send(message)

    def reload(self, number: int) -> None:
        """Has the dispatcher, or the next one if there is none, read the conf file again."""
        self._reload = Reload(number=number)
        self.send_dispatcher(self._reload)

    def reloaded(self, number: int) -> None:
        """The dispatcher has answered the reload of this number."""
        if self._reload is not None and self._reload.number <= number:
            self._reload = None

    def terminate_when_idle(self, workers: list[Child]) -> None:
        """Tells each once to finish what it runs and to exit."""
        told = [child for child in workers if child.pid not in self.leaving]
        self.leaving |= {child.pid for child in told}
        self._signal(told, signal.SIGTERM)

    def drain(self) -> None:
        """Has no job start any more; a worker that exits is not replaced."""
        self._draining = True
        self.table.restart_workers = False
        self.send_dispatcher(Drain())

    def end_jobs(self) -> None:
        """Has the workers end what they run."""
        self.table.restart_workers = False
        self._scoreboard.stop()
        self._signal(self.table.living_workers(), signal.SIGQUIT)

    def stop_restarting(self) -> None:
        """Starts no dispatcher again; workers that owe it a result see that none will come."""
        self.table.restart_dispatcher = False
        if self._dispatcher is None:
            self._forker.disconnect_all()

    def finish(self) -> None:
        """Has the dispatcher record the rest and exit; call it when no worker is left."""
        self._finishing = True
        self.send_dispatcher(Finish())

    def kill_all(self) -> None:
        """Kills all children; none is started again."""
        self.table.restart_workers = self.table.restart_dispatcher = False
        self._signal(self.table.living(), signal.SIGKILL)

    def check(self, health: Watchdog, log: Log) -> bool:
        """Asks the children if they are well and kills those that hang.

        Returns whether all have answered the last question.
        """
        self._watched = True
        found = health.look(self.table.living(), times.monotonic_s())
        for child in found.hung:
            log.error("child.hung", **_names(child), action="killed and started again")
        self._signal(found.hung, signal.SIGKILL)
        self._signal(found.to_ask, signal.SIGUSR1)
        return found.well

    def _signal(self, children: list[Child], number: signal.Signals) -> None:
        """Only we reap these children, so that their pids cannot be reused before."""
        for child in children:
            os.kill(child.pid, number)

    # Their state

    def has_workers(self) -> bool:
        """Returns whether a worker lives, or something that a dead worker left."""
        return bool(self.table.living_workers() or self.awaiting_cleanup)

    def runs_commands(self) -> bool:
        """Returns whether a command runs or is being ended."""
        return any(self._scoreboard.running(child.slot) for child in self.table.living_workers())

    def owes_nothing(self) -> bool:
        """Returns whether no worker is left, and none died at its work unrecorded."""
        return not self.has_workers() and all(death.clean for death in self._deaths)

    def deaths_recorded(self, number: int) -> None:
        """The dispatcher has recorded the deaths up to this number."""
        self._deaths = [death for death in self._deaths if death.number > number]

    # Their end

    def reap(self, log: Log) -> None:
        """Collects the dead; what a dead worker left is killed before its death is reported.

        If we may not kill it, its job waits until it has ended; as our child by now, it wakes us.
        """
        self._continue_stopped()
        gone, waited = self.awaiting_cleanup, len(self.awaiting_cleanup)
        self.awaiting_cleanup = []
        killed = self._end_leftovers(gone, log)
        new = gone[waited:]
        if not killed.complete and any(map(_was_lost, new)):
            action = "end them as their owner; they may have become another user's"
            pids = [process.pid for process in killed.left]
            log.error("child.leftovers_stay", pids=pids, action=action)
        for child, status in new:
            self._log_end(child, status, log)
        for child, status in gone:
            if not killed.complete and _was_lost((child, status)):
                self.awaiting_cleanup.append((child, status))
            else:
                self._report_death(child, status)
        self.table.blocked_slots = {child.slot for child, _ in self.awaiting_cleanup}

    def _end_leftovers(self, gone: list[Ended], log: Log) -> Killed:
        """Adds those that have died to `gone`, and kills what they left."""
        if not gone and not _child_died():
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
        """Returns the runs of the workers that died at their work."""
        return [self._scoreboard.last_run(ended[0].slot) for ended in gone if _was_lost(ended)]

    def _continue_stopped(self) -> None:
        """Continues workers that were stopped: a command could do that to its parent, for ever.

        With a watchdog, a child that hangs is replaced instead, because it may hang again.
        """
        if self._watched:
            return
        workers = {child.pid for child in self.table.living_workers()}
        while (pid := procfs.stopped_child()) is not None:
            if pid in workers:
                os.kill(pid, signal.SIGCONT)

    def _collect(self) -> list[Ended]:
        gone: list[Ended] = []
        while _child_died():
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
            status = os.waitstatus_to_exitcode(wait_status)
            child = self.table.ended(pid, times.monotonic_s(), clean=status == 0)
            if child is not None:
                gone.append((child, status))
        return gone

    def _log_end(self, child: Child, status: int, log: Log) -> None:
        told = child.pid in self.leaving or self._draining or self._finishing
        expected = status == 0 and told
        write = log.info if expected else log.warning
        event = "child.exited" if status == 0 else "child.died"
        write(event, **_names(child), exit_code=status)

    def _report_death(self, child: Child, status: int) -> None:
        self.leaving.discard(child.pid)
        if child.slot == DISPATCHER:
            self._receive()  # its last messages
            self._close_dispatcher()
            if not self.table.restart_dispatcher:
                self._forker.disconnect_all()
            if status == 0 and self._finishing:
                self.table.restart_dispatcher = False
        else:
            self._forker.disconnect(child.slot)
            self._death_number += 1
            gone = WorkerGone(
                number=self._death_number,
                worker=child.slot,
                pid=child.pid,
                clean=status == 0,
                begun=self._scoreboard.run_notes.last(child.slot),
                claims_before_s=float("inf"),
            )
            self.send_dispatcher(gone)
            # For the next dispatcher: by then the pid may be reused, and so may the slot.
            self._deaths.append(replace(gone, pid=0, claims_before_s=times.monotonic_s()))

    # Their start

    def start_due(self, log: Log) -> None:
        """Forks the children that are due."""
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
        self._loop.add(self._dispatcher.fileno(), self._receive)
        for gone in self._deaths:
            self.send_dispatcher(gone)
        living = self.table.living_workers()
        for child in living:
            self._introduce(child.slot, child.pid)
        workers = [*living, *(child for child, _ in self.awaiting_cleanup)]
        self.send_dispatcher(Roster(workers=[child.slot for child in workers]))
        if self._reload is not None:
            self.send_dispatcher(self._reload)
        if self._draining:
            self.send_dispatcher(Drain())
        if self._finishing:
            self.send_dispatcher(Finish())
        return pid

    def _start_worker(self, slot: int) -> int:
        self._scoreboard.run_notes.make_room(slot)
        self._scoreboard.set_running(slot, running=False)
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

    def _receive(self) -> None:
        if self._dispatcher is None:
            return
        self._on_messages(self._dispatcher.receive())
        if self._dispatcher.closed:
            self._close_dispatcher()

    def _close_dispatcher(self) -> None:
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


def _child_died() -> bool:
    try:
        return procfs.dead_child() is not None
    except ChildProcessError:
        return False


def _was_lost(ended: Ended) -> bool:
    """Returns whether a worker died at its work, and not because it was told to exit."""
    child, status = ended
    return status != 0 and child.slot != DISPATCHER


def _names(child: Child) -> dict[str, object]:
    return {"child": child.role, "slot": child.slot, "child_pid": child.pid}
