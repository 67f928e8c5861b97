"""The processes of one run: found by descent, signalled and reaped; their use of CPU and memory.

The worker is the subreaper of all processes that its command starts, and has one run at a time. It
exits after a run that left processes on purpose. So each descendant of the worker belongs to the
run.
"""

import os
import signal
import time
from collections.abc import Callable

from queued.core import times
from queued.service.linux import killing, procfs, run_mark
from queued.service.linux.cgroup import Cgroup
from queued.service.linux.procfs import Process
from queued.service.worker.spawn import Environment

_KILLING_S = 0.02
_STOP_ROUNDS = 20  # a process that forks faster than it is found is not stopped
_STOP_S = 0.1  # a process in a system call may not stop before that ends
_STOP_LOOK_S = 0.0005


class ProcessTree:
    """A command and all processes that it started."""

    pid: int | None = None  # the command
    status: int | None = None  # its wait status, once it has ended
    cpu_s = 0.0
    # The largest process, as ru_maxrss of getrusage(2). It is at least the size of a worker,
    # because the kernel counts from before the command replaces the worker's program.
    peak_kib = 0

    def __init__(self, environment: Environment) -> None:
        """`environment` is that of the command, which names its run."""
        self.mark = run_mark.of_environment(environment)

    def starting(self) -> None:
        """Marks this process with the run, because the command that starts next inherits it."""
        if self.mark is not None:
            run_mark.mark_this_process(self.mark)

    def reap(self) -> bool:
        """Collects dead children, the command among them; returns whether no child is left.

        It collects a bounded number: see `procfs.reap_rounds`.
        """
        try:
            for _ in procfs.reap_rounds():
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if not pid:
                    return False
                if pid == self.pid:
                    self.status = status
                self.cpu_s += usage.ru_utime + usage.ru_stime
                self.peak_kib = max(self.peak_kib, usage.ru_maxrss)
        except ChildProcessError:
            return True
        return False

    def leftovers(self) -> list[Process]:
        """Returns the living processes of the run.

        A dead process needs no signal: it is collected once its parent has ended. The scan is
        repeated because it misses a process whose parent forked it and ended during the scan.
        """
        for _ in range(3):
            found = procfs.descendants(os.getpid())
            if left := [process for process in found if not process.dead]:
                return left
        return []

    def lasting(self) -> list[int]:
        """Returns the pids of the living processes, else of a command that a debugger collects."""
        living = [process.pid for process in self.leftovers()]
        if not living and self.pid is not None and self.status is None:
            return [self.pid]
        return living

    def signal(self, *numbers: signal.Signals) -> bool:
        """Sends these signals to the living processes; returns False if none may be signalled."""
        left = self.leftovers()
        taken = [_signal_all(left, number) for number in numbers]
        return any(taken) or not any(procfs.is_alive(process) for process in left)

    def stopped(self) -> list[Process]:
        """Returns the processes that a signal has stopped."""
        return [process for process in self.leftovers() if process.stopped]

    def outside(self, group: Cgroup | None) -> list[Process]:
        """Returns the living processes that are not in this control group."""
        left = self.leftovers()  # first, because those in the group may still fork
        inside = set() if group is None else {process.pid for process in group.processes()}
        return [process for process in left if process.pid not in inside]

    def stop(self, frozen: Cgroup | None) -> None:
        """Sends STOP to all processes outside of `frozen`, again while a search finds new ones.

        The first time, parents stop before their children, so that they do not see them stop.
        """
        seen = set[int]()
        for _ in range(_STOP_ROUNDS):
            left = self.outside(frozen)
            if seen.issuperset(process.pid for process in left):
                return
            if seen and frozen is None:  # else processes in it may be of the same process groups
                _signal_all(left, signal.SIGSTOP)
            else:
                _stop_in_turn(left)
            seen |= {process.pid for process in left}

    def resume(self, processes: list[Process]) -> None:
        """Sends CONT to these processes, which `leftovers` has returned."""
        _signal_all(processes, signal.SIGCONT)

    def kill_children(self, reap: Callable[[], object]) -> bool:
        """Kills processes of the run that fork too fast for `signal`; see `killing`."""
        return killing.kill_children(lambda _pid: True, reap, _KILLING_S)


def _stop_in_turn(left: list[Process]) -> None:
    """Stops each process before the next one gets its signal."""
    end_s = times.monotonic_s() + _STOP_S
    for process in left:
        procfs.send_signal(process, signal.SIGSTOP)
        while times.monotonic_s() < end_s and _goes_on(process):
            time.sleep(_STOP_LOOK_S)


def _goes_on(process: Process) -> bool:
    now = procfs.refresh(process)
    return now is not None and not (now.dead or now.stopped)


def _signal_all(left: list[Process], number: signal.Signals) -> bool:
    """Signals all processes.

    CONT goes to children before their parents, so that these do not see that they were stopped.
    Other signals go to whole process groups first, so that no process escapes by a fork.
    A group is signalled only while a child of this process is in it, because its number cannot be
    reused meanwhile. Then come the processes that are in none of these groups.
    """
    if number is signal.SIGCONT:
        continued = [procfs.send_signal(process, number) for process in reversed(left)]
        return any(continued)
    pinned = _pinned_groups(left)
    taken = [_signal_group(group, number) for group in pinned]
    for process in left:
        now = procfs.refresh(process)
        if now is not None and now.group not in pinned:
            taken.append(procfs.send_signal(process, number))
    return any(taken)


def _pinned_groups(left: list[Process]) -> set[int]:
    """Returns the groups that a child of this process is in; there may be thousands of them."""
    worker = os.getpid()
    groups = {process.group for process in left if process.parent == worker} - {os.getpgid(0)}
    pinned = set[int]()
    for process in left:
        group = process.group
        if group in groups and group not in pinned and _is_child(process):
            pinned.add(group)
    return pinned


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
