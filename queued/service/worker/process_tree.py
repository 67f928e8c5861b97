"""The processes of one run: found by descent, signalled, reaped, and what they used.

The worker is the subreaper of all processes that its command starts, and has one run at a time. So
each descendant of the worker belongs to the run, except those that earlier jobs left on purpose.
"""

import os
import signal
from collections.abc import Callable

from queued.service.linux import killing, procfs, run_mark
from queued.service.linux.detached_processes import DetachedProcesses
from queued.service.linux.procfs import Process
from queued.service.worker.spawn import Environment

_ANY = -1  # child, for wait4(2)
_KILLING_S = 0.02


class ProcessTree:
    """A command and all processes that it started."""

    pid: int | None = None  # the command
    status: int | None = None  # its wait status, once it has ended
    cpu_s = 0.0
    # The largest process, as ru_maxrss of getrusage(2). It is at least the size of a worker,
    # because the kernel counts from before the command replaces the worker's program.
    peak_kib = 0

    def __init__(self, environment: Environment, detached: DetachedProcesses) -> None:
        """`environment` is that of the command, which names its run."""
        self._mark = run_mark.of_environment(environment)
        self._detached = detached

    def starting(self) -> None:
        """Prepares for the start of the command; call it before.

        Marks this process with the run, because the command inherits the mark. Descendants that
        exist now do not belong to the run.
        """
        if self._mark is not None:
            run_mark.mark_this_process(self._mark)
        if self._detached:
            found = procfs.descendants(os.getpid())
            self._detached.add(found)
            self._detached.marks &= {run_mark.of_process(process.pid) for process in found}

    def reap(self) -> bool:
        """Collects dead children, the command among them; returns whether no child is left.

        It collects a bounded number: see `procfs.reap_rounds`.
        """
        try:
            for _ in procfs.reap_rounds():
                if (dead := procfs.dead_child() if self._detached else _ANY) is None:
                    return False
                foreign = dead != _ANY and self._detached.has(dead)  # known until it is collected
                pid, status, usage = os.wait4(dead, os.WNOHANG)
                if not pid:
                    return False
                if pid == self.pid:
                    self.status = status
                if not foreign:
                    self.cpu_s += usage.ru_utime + usage.ru_stime
                    self.peak_kib = max(self.peak_kib, usage.ru_maxrss)
        except ChildProcessError:
            return True
        return False

    def is_empty(self) -> bool:
        """Returns whether no process of the run is alive although `reap` has found children.

        The children are looked at last, because a scan may miss processes that fork and exit.
        """
        if not self._detached or self.leftovers():
            return False
        return not any(self._is_doomed(pid) for pid in procfs.own_children())

    def leftovers(self) -> list[Process]:
        """Returns the living processes of the run.

        A dead one needs no signal: it is collected once its parent has ended. The scan is repeated
        because it misses a process whose parent forked it and ended during the scan.
        """
        for _ in range(3):
            found = procfs.descendants(os.getpid())
            self._detached.forget_others(found)
            self._detached.add_descendants(found)
            left = [process for process in self._detached.without(found) if not process.dead]
            self._detached.add(process for process in left if self._is_of_other_job(process.pid))
            self._detached.add_descendants(left)
            if left := self._detached.without(left):
                return left
        return []

    def _is_of_other_job(self, pid: int) -> bool:
        """Returns whether the mark names a run of this worker that left processes on purpose.

        Another mark is not believed, because a command may change its own.
        """
        return run_mark.of_process(pid) in self._detached.marks

    def exempt_leftovers(self) -> None:
        """Exempts the living processes of the run, now and during the worker's later runs."""
        self._detached.add(self.leftovers())
        if self._mark is not None:
            self._detached.marks.add(self._mark)

    def signal(self, *numbers: signal.Signals) -> bool:
        """Sends these signals to the living processes; returns False if none may be signalled."""
        left = self.leftovers()
        taken = [_signal_all(left, number) for number in numbers]
        return any(taken) or not any(procfs.is_alive(process) for process in left)

    def kill_children(self, reap: Callable[[], object]) -> bool:
        """Kills processes of the run that fork too fast for `signal`; see `killing`."""
        return killing.kill_children(self._is_doomed, reap, _KILLING_S)

    def _is_doomed(self, pid: int) -> bool:
        """Returns whether a child belongs to the run."""
        if not self._detached:
            return True
        return not (self._detached.has(pid) or self._is_of_other_job(pid))


def _signal_all(left: list[Process], number: signal.Signals) -> bool:
    """Signals whole process groups first, so that no process escapes by a fork.

    A group is signalled only while a child of this process is in it, because its number cannot be
    reused meanwhile. Then come the processes that are in none of these groups.
    """
    worker = os.getpid()
    groups = {p.group for p in left if p.parent == worker} - {os.getpgid(0)}
    pinned = {group for group in groups if any(p.group == group and _is_child(p) for p in left)}
    taken = [_signal_group(group, number) for group in pinned]
    for process in left:
        now = procfs.refresh(process)
        if now is not None and now.group not in pinned:
            taken.append(procfs.send_signal(process, number))
    return any(taken)


def _is_child(process: Process) -> bool:
    """Returns whether it is still a child of this process, so that its pid cannot be reused."""
    now = procfs.refresh(process)
    return now is not None and now.parent == os.getpid()


def _signal_group(group: int, number: signal.Signals) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
