"""The processes of one run: found by descent, signalled, reaped, and what they used.

The worker is the subreaper of all that its command starts, and has one run at a time. So what
descends from the worker belongs to the run, except what earlier jobs left alive on purpose.
"""

import os
import signal

from queued.service.linux import procfs, run_mark
from queued.service.linux.detached_processes import DetachedProcesses
from queued.service.linux.procfs import Process
from queued.service.worker.spawn import Environment

_ANY = -1  # child, for wait4(2)


class ProcessTree:
    """A command and all that it started."""

    pid: int | None = None  # the command
    status: int | None = None  # its wait status, once it has ended
    cpu_s = 0.0
    # The largest process, as ru_maxrss of getrusage(2). It counts from the moment before the
    # program replaces the worker's in memory, so that the size of a worker is the least.
    peak_kib = 0

    def __init__(self, environment: Environment, detached: DetachedProcesses) -> None:
        """`environment` is that of the command, which names its run."""
        self._environment = environment
        self._detached = detached

    def starting(self) -> None:
        """Call it before the command is started: what descends from the worker is not of it.

        Marks this process with the run, and so all that is started from now on.
        """
        if (mark := run_mark.of_environment(self._environment)) is not None:
            run_mark.put(mark)
        if self._detached:
            self._detached.add(procfs.descendants(os.getpid()))

    def reap(self) -> bool:
        """Collects dead children, the command among them; returns whether no child is left."""
        try:
            while (dead := procfs.dead_child() if self._detached else _ANY) is not None:
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
        """Returns whether nothing of it is alive, after `reap` has found other children."""
        return bool(self._detached) and not self.leftovers()

    def leftovers(self) -> list[Process]:
        """Returns what is alive of it. A dead process waits for its parent, which must end, too.

        It scans several times, because a scan misses a process whose parent forked it and ended
        meanwhile.
        """
        for _ in range(3):
            living = procfs.descendants(os.getpid())
            self._detached.forget_dead(living)
            left = [p for p in self._detached.without(living) if not p.dead]
            self._detached.add([process for process in left if self._is_of_other_job(process)])
            left = self._detached.without(left)
            if left:
                return left
        return []

    def _is_of_other_job(self, process: Process) -> bool:
        """Whether an earlier job left it on purpose."""
        mark = run_mark.of_process(process.pid)
        run = run_mark.run_of(self._environment)
        return mark is not None and run_mark.left_on_purpose(mark, [run])

    def exempt_leftovers(self) -> None:
        """Lets stay what is left, also during the worker's later jobs."""
        self._detached.add(self.leftovers())

    def signal(self, *numbers: signal.Signals) -> bool:
        """Sends these signals to all that is left; returns False if none of it may be signalled."""
        left = self.leftovers()
        taken = [_signal_all(left, number) for number in numbers]
        return not left or any(taken)


def _signal_all(left: list[Process], number: signal.Signals) -> bool:
    """Signals whole process groups first, so that no process escapes by a fork.

    A group is signalled only while a child of this process is in it: its number cannot be used
    again then. Processes outside of these groups, or that have just left them, come after that.
    """
    worker = os.getpid()
    cgroups = {p.group for p in left if p.parent == worker} - {os.getpgid(0)}
    pinned = {group for group in cgroups if any(p.group == group and _ours(p) for p in left)}
    taken = [_signal_group(group, number) for group in pinned]
    for process in left:
        now = procfs.look(process.pid)
        if now is not None and now.group not in pinned:
            taken.append(procfs.send(process, number))
    return any(taken)


def _ours(process: Process) -> bool:
    """Whether it is still our child, so that its pid and its group cannot be used again."""
    now = procfs.refresh(process)
    return now is not None and now.parent == os.getpid()


def _signal_group(group: int, number: signal.Signals) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
