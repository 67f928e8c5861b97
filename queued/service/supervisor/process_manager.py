"""Starts, signals and reaps the children, and kills what dead workers left.

The table `children` records which children live and when the next start is due; the supervisor
decides when children start, drain and end.
"""

import contextlib
import os
import signal

from queued.core import times
from queued.service.ipc.messages import WorkerFaulty
from queued.service.ipc.scoreboard import DISPATCHER, WARDEN, Scoreboard
from queued.service.linux import procfs
from queued.service.linux.killing import Found, Killed, kill_children, kill_until_gone
from queued.service.linux.procfs import RunName
from queued.service.log import Log
from queued.service.supervisor.children import Child, Children, EndedChild
from queued.service.supervisor.dispatcher_link import DispatcherLink
from queued.service.supervisor.forking import Forker
from queued.service.supervisor.health_check import HealthCheck, send
from queued.service.supervisor.orphan_reaper import Deaths, OrphanReaper

_KILLING_S = 0.5  # the kernel may take long to end a process


class ProcessManager:
    """The system calls on the children of the table."""

    def __init__(
        self,
        table: Children,
        forker: Forker,
        scoreboard: Scoreboard,
        dispatcher: DispatcherLink,
        health: HealthCheck,
    ) -> None:
        self.table = table
        self.leaving: set[int] = set()  # pids that were told to finish and exit
        self._awaiting_cleanup: list[EndedChild] = []  # workers that left something alive
        self._forker = forker
        self._scoreboard = scoreboard
        self._cgroups = forker.cgroups
        self._dispatcher = dispatcher
        self._reaper = OrphanReaper()
        self._health = health

    def adopt(self) -> None:
        """Becomes the parent of all orphans below it. Call it before the first start.

        Processes that descend from this one already are exempt from the cleanup.
        """
        procfs.become_subreaper()
        self._reaper.exempt_all()

    # Signals

    def terminate_when_idle(self, workers: list[Child]) -> None:
        """Has each of these workers exit after its run; sends the signal once."""
        told = [child for child in workers if child.pid not in self.leaving]
        self.leaving |= {child.pid for child in told}
        send(told, signal.SIGTERM)

    def drain(self) -> None:
        """Lets no further job start; workers that exit are not replaced."""
        self.table.restart_workers = False
        self._scoreboard.drain()
        self._dispatcher.drain()

    def end_jobs(self) -> None:
        """Has the workers end their runs and exit; they are not replaced."""
        self.table.restart_workers = False
        self._scoreboard.drain()
        self._scoreboard.stop()
        send(self.table.living_workers(), signal.SIGQUIT)

    def stop_restarting(self) -> None:
        """Starts no other dispatcher; without one, workers drop their results and exit."""
        self.table.restart_dispatcher = False
        if self._dispatcher.channel is None:
            self._forker.disconnect_all()

    def kill_all(self) -> None:
        """Kills all children, and starts no child again."""
        self.table.restart_workers = self.table.restart_dispatcher = False
        self._health.kill(self.table.living())

    def end_warden(self) -> None:
        """Kills the warden when no other child lives and none will be started."""
        if (warden := self.table.warden()) is not None:
            self._health.kill([warden])
            os.waitpid(warden.pid, 0)

    def reopen_log_of_warden(self) -> None:
        """Tells the warden, which gets no messages, that the log file may have been moved."""
        if (warden := self.table.warden()) is not None:
            send([warden], signal.SIGHUP)

    def kill_faulty(self, faulty: WorkerFaulty) -> None:
        """Kills a worker that breaks the protocol; it is replaced like any dead worker."""
        self._health.kill(
            [child for child in self.table.living_workers() if child.pid == faulty.pid]
        )

    # Their state

    def has_workers(self) -> bool:
        """Returns whether a worker lives, or something that a dead worker left."""
        return bool(self.table.living_workers() or self._awaiting_cleanup)

    def runs_commands(self) -> bool:
        """Returns whether a command runs or is being ended, by a worker that was not killed."""
        alive = [c for c in self.table.living_workers() if c.pid not in self._health.killed]
        return any(self._scoreboard.running(child.slot) for child in alive)

    # Their end

    def reap(self, log: Log) -> None:
        """Collects the dead children, and kills what dead workers left before it reports them.

        While something that a worker left cannot be killed, its death is not reported, so that its
        job does not run again. That process has become a child of this one: its end wakes the loop.
        """
        self._health.continue_stopped(log)
        ended, waited = self._awaiting_cleanup, len(self._awaiting_cleanup)
        killed = self._kill_leftovers(ended, log)
        new = ended[waited:]
        if not killed.complete and any(one.lost_run for one in new):
            action = (
                "end them as their owner: they belong to another user, or fork faster than they "
                "are killed, which control groups (Delegate=yes) prevent"
            )
            pids = [process.pid for process in killed.left]
            log.error("child.leftovers_stay", pids=pids, action=action)
        for one in new:
            self._log_end(one, log)
        self._awaiting_cleanup = [e for e in ended if e.lost_run and not killed.complete]
        self.table.blocked_slots = {one.child.slot for one in self._awaiting_cleanup}
        for one in ended:
            if one not in self._awaiting_cleanup:
                self._report_death(one)

    def _kill_leftovers(self, ended: list[EndedChild], log: Log) -> Killed:
        """Adds the children that have died to `ended`, and kills what these workers left."""
        if not ended and not self._has_dead_child():
            return Killed(0, [], unseen=False)
        if ended and not self._kill_orphans(ended):  # they would fill the table during a search
            ended += self._collect()
            return Killed(0, [], unseen=True)
        killed = kill_until_gone(
            lambda: self._find_leftovers(ended), _KILLING_S, lambda: self._kill_orphans(ended)
        )
        self._sweep_cgroups()
        if killed.signalled:
            log.warning("child.leftovers_killed", processes=killed.signalled)
        return killed

    def _find_leftovers(self, ended: list[EndedChild]) -> Found:
        """Adds the children that have died to `ended`; returns what these workers left.

        The scan is repeated until no child died during it, so that it shows all their orphans.
        """
        while True:
            orphans = self._reaper.scan({child.pid for child in self.table.living()})
            more = self._collect()
            ended += more
            if not more:
                break
        leftovers = self._reaper.leftovers(orphans, self._deaths(ended))
        lost = self._lost_runs(ended)
        grouped = Found([]) if self._cgroups is None else self._cgroups.kill(lost)
        return Found([*{*leftovers, *grouped.own}], unseen=grouped.unseen)

    def _lost_runs(self, ended: list[EndedChild]) -> list[RunName]:
        return [self._scoreboard.last_run(one.child.slot) for one in ended if one.lost_run]

    def _deaths(self, ended: list[EndedChild]) -> Deaths:
        """Returns what is known of these deaths, and of workers that have died meanwhile."""
        children = [*self.table.living_workers(), *(one.child for one in ended)]
        marks = (self._scoreboard.left(child.slot) for child in children)
        left = {mark for mark in marks if mark is not None}
        return Deaths(lost=any(one.lost_run for one in ended), left=left)

    def _kill_orphans(self, ended: list[EndedChild]) -> bool:
        """Kills and collects orphans that fork too fast for a search; see `killing`."""
        own = {child.pid for child in self.table.living()}
        return kill_children(
            lambda pid: pid not in own and self._reaper.must_die(pid, self._deaths(ended)),
            self._collect_orphans,
            _KILLING_S,
        )

    def _has_dead_child(self) -> bool:
        """Collects dead orphans; returns whether a child of the table is dead."""
        if self._collect_orphans():
            self._sweep_cgroups()
        try:
            return procfs.dead_child() is not None or bool(self._health.dead_for_a_tracer())
        except ChildProcessError:
            return False

    def _sweep_cgroups(self) -> None:
        """Removes the control groups of runs that are over, and of which no process is left."""
        if self._cgroups is not None:
            self._cgroups.sweep(busy=self._current_runs)

    def _current_runs(self) -> list[RunName]:
        return [self._scoreboard.last_run(child.slot) for child in self.table.living_workers()]

    def _collect(self) -> list[EndedChild]:
        """Collects dead processes: all children of the table, then a bounded number of orphans.

        Orphans may die as fast as they are collected.
        """
        ended: list[EndedChild] = []
        for child in self.table.living():
            pid, wait_status = os.waitpid(child.pid, os.WNOHANG)
            if not pid and child.pid in self._health.dead_for_a_tracer():
                pid, wait_status = child.pid, signal.SIGKILL
            if pid:
                self._health.killed.discard(pid)
                exit_code = os.waitstatus_to_exitcode(wait_status)
                self.table.ended(pid, times.monotonic_s(), clean=exit_code == 0)
                ended.append(EndedChild(child, exit_code))
        self._collect_orphans()
        return ended

    def _collect_orphans(self) -> bool:
        """Collects dead orphans, in `reap_rounds`, until it finds a child of the table dead.

        Returns whether it has collected any.
        """
        own = {child.pid for child in self.table.living()}
        collected = False
        with contextlib.suppress(ChildProcessError):
            for _ in procfs.reap_rounds():
                if (pid := procfs.dead_child()) is None or pid in own:
                    break
                os.waitpid(pid, 0)
                collected = True
        return collected

    def _log_end(self, ended: EndedChild, log: Log) -> None:
        stopping = self._dispatcher.draining or self._dispatcher.finishing
        left = self._scoreboard.left(ended.child.slot)
        told = stopping or left is not None or ended.child.pid in self.leaving
        write = log.info if told and ended.exit_code == 0 else log.warning
        event = "child.exited" if ended.exit_code == 0 else "child.died"
        write(event, **ended.child.log_fields, exit_code=ended.exit_code)

    def _report_death(self, ended: EndedChild) -> None:
        child, clean = ended.child, ended.exit_code == 0
        self.leaving.discard(child.pid)
        if child.slot == WARDEN:
            return
        if child.is_worker:
            self._forker.disconnect(child.slot)
            begun = self._scoreboard.run_notes.last(child.slot)
            self._dispatcher.send_death(child, clean=clean, begun=begun)
            return
        self._dispatcher.receive()  # its last messages
        self._dispatcher.close()
        if not self.table.restart_dispatcher:
            self._forker.disconnect_all()
        if clean and self._dispatcher.finishing:
            self.table.restart_dispatcher = False

    # Their start

    def start_due(self, log: Log) -> None:
        """Forks the children that are due."""
        for slot in self.table.due(times.monotonic_s()):
            try:
                child = self._start(slot)
            except OSError as error:
                wait_s = self.table.failed(slot, times.monotonic_s(), early=True)
                fields = {"slot": slot, "error": str(error), "retry_in_s": max(wait_s, 0.1)}
                log.error("child.not_started", **fields)  # noqa: TRY400 - no internal error
            else:
                log.info("child.started", **child.log_fields)

    def _start(self, slot: int) -> Child:
        if slot == DISPATCHER:
            return self._start_dispatcher()
        if slot == WARDEN:
            pid = self._forker.warden(self._dispatcher.channel)
            return self.table.started(WARDEN, pid, times.monotonic_s())
        return self._start_worker(slot)

    def _start_dispatcher(self) -> Child:
        forked = self._forker.dispatcher()
        dispatcher = self.table.started(DISPATCHER, forked.pid, times.monotonic_s())
        self._dispatcher.connect(forked.channel)
        workers = self.table.living_workers()
        for child in workers:
            self._introduce(child)
        waiting = [one.child for one in self._awaiting_cleanup]
        self._dispatcher.send_state(child.slot for child in (*workers, *waiting))
        return dispatcher

    def _start_worker(self, slot: int) -> Child:
        self._scoreboard.run_notes.make_room(slot)
        self._scoreboard.clear(slot)
        pid = self._forker.worker(slot, self._dispatcher.channel)
        child = self.table.started(slot, pid, times.monotonic_s())
        self._introduce(child)
        return child

    def _introduce(self, worker: Child) -> None:
        self._dispatcher.send_worker(worker, self._forker.worker_socket(worker.slot))
