"""The warden: kills what is left of an instance when its lease ends, or when it has died.

An instance has one if other hosts can take over its jobs. Workers end their runs in time before the
end of the lease. The warden kills the runs of workers that were stopped, hang or were killed. It
uses no database and waits for no other process, so that only its own death can prevent the kill.
SIGUSR1: record the time as a sign of life. SIGHUP: reopen the log file if it was moved. Other
signals are ignored, because the supervisor kills the warden when the service ends.
"""

import os
import signal

from queued.core import times
from queued.service.ipc.scoreboard import WARDEN, Scoreboard
from queued.service.linux import procfs, run_mark
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.killing import Found, kill_until_gone
from queued.service.linux.signals import Signals
from queued.service.linux.timers import BootTimer
from queued.service.log import Log, LogOutput
from queued.service.warden.fence_command import FenceCommand

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)
_KILLING_S = 0.5  # the longest kill; a ping is answered only after it
_KILL_INTERVAL_S = 0.5  # after the end of the lease
_NO_LEASE_S = 1.0  # between two looks for the lease, which the first dispatcher records


class Warden:
    """The loop of the warden process."""

    def __init__(  # noqa: PLR0913 - all that the process needs
        self,
        *,
        instance: str,
        presence: int,
        scoreboard: Scoreboard,
        cgroups: RunCgroups | None,
        fence_command: str,
        log_output: LogOutput,
        log: Log,
    ) -> None:
        """`presence` is a pipe that closes when the supervisor and all workers have died."""
        self._instance = instance
        self._presence = presence
        self._scoreboard = scoreboard
        self._cgroups = cgroups
        self._log_output = log_output
        self._log = log
        self._loop = EventLoop()
        self._signals = Signals(_SIGNALS)
        self._timer = BootTimer()
        self._fence = FenceCommand(fence_command, log)
        self._alone = self._over = self._warned = False

    def run(self) -> int:
        """Watches until the supervisor and all workers are gone; returns the exit code."""
        os.setsid()
        self._loop.add(self._signals.fileno(), self._answer)
        self._loop.add_hang_up(self._presence, self._on_alone)
        self._loop.add(self._timer.fileno(), self._advance)
        self._advance()
        while not self._over:
            self._loop.wait(None)
        return 0

    def _answer(self) -> None:
        arrived = self._signals.drain()
        if signal.SIGUSR1 in arrived:
            self._scoreboard.record_answer(WARDEN)
        if signal.SIGHUP in arrived:
            self._log_output.follow()

    def _on_alone(self) -> None:
        self._alone = True
        self._loop.remove(self._presence)
        self._advance()

    def _advance(self) -> None:
        """Kills all runs if the lease has ended or the others have died; sets the timer.

        Alone, it goes on until no run is left, or until the end of the lease and of the command
        that is started then.
        """
        now_s, lease = times.boot_s(), self._scoreboard.lease
        end_s = self._scoreboard.renewed_s + lease.end_s if lease else now_s + _NO_LEASE_S
        has_ended = now_s >= end_s
        self._fence.collect()
        if has_ended or self._alone:
            left = self._kill(exempt=set() if self._alone else self._idle_workers())
            if has_ended and left is not None:
                self._fence.start(left)
            may_end = left is None or lease is None or (has_ended and not self._fence.must_start)
            self._over = self._alone and may_end and not self._fence.is_running
            end_s = times.boot_s() + _KILL_INTERVAL_S
        else:
            self._warned = False
            self._fence.reset()
        self._timer.set(end_s)

    def _idle_workers(self) -> set[int]:
        """Returns the pids of the workers that have ended their runs and may stay."""
        board = self._scoreboard
        return {board.pid(slot) for slot in range(1, WARDEN) if not board.running(slot)}

    def _kill(self, exempt: set[int]) -> list[int] | None:
        """Kills the runs of this instance, and its workers without the exempt ones.

        Returns None if none of their processes is left, else the pids that are known.
        """
        board = self._scoreboard
        running = {board.last_run(slot) for slot in range(1, WARDEN) if board.running(slot)}

        def find() -> Found:
            marked = [
                found.process
                for found in run_mark.marked_processes(self._instance)
                if found.process.pid not in exempt
                and not run_mark.left_on_purpose(found.mark, running)
            ]
            below = procfs.descendants(*(process.pid for process in marked)) if marked else []
            grouped = Found([]) if self._cgroups is None else self._cgroups.kill(running)
            own = {*marked, *(process for process in below if not process.dead), *grouped.own}
            return Found([*own], unseen=grouped.unseen)

        killed = kill_until_gone(find, _KILLING_S)
        if killed.signalled:
            self._log.warning("lease.runs_killed", processes=killed.signalled)
        if killed.complete:
            return None
        pids = sorted({process.pid for process in killed.left})
        if not self._warned:
            self._warned = True
            self._log.critical(
                "lease.runs_outlive",
                pids=pids,
                action="end these processes, or the host: other hosts start their jobs again",
            )
        return pids
