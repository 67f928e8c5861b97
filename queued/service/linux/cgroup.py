"""A control group (cgroup v2) for each run, if systemd has delegated the service's own group.

    queued.service/               delegated: `Delegate=yes` of systemd
        queued/                   the service itself: a group with controllers may hold no process
        INSTANCE.JOB.ATTEMPT/     a run

The kernel keeps the processes of a run in its group, kills them all at once, counts what they use
together, and limits their memory if it has that controller. Without delegation there are no
`RunCgroups`: descent finds the processes, and limits are those of each process.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Collection
from typing import NamedTuple, Self

from queued.service.linux import procfs
from queued.service.linux.killing import Found
from queued.service.linux.procfs import Process, RunName

_MARK = "user.delegate"  # the attribute that systemd sets on a group that it has delegated
_SERVICE = "queued"


class Used(NamedTuple):
    """The resources that all processes of a run have used; None if the kernel counts none."""

    cpu_ms: int | None
    peak_kib: int | None


class Cgroup:
    """The control group of one run, as a context: processes started in it are of the group."""

    def __init__(self, path: str, home: str, *, memory: bool) -> None:
        self.memory = memory  # whether the kernel can limit and count its memory
        self._path = path
        self._home = home

    def __enter__(self) -> Self:
        """Moves this process into the group. Raises OSError if it cannot be moved."""
        _write(f"{self._path}/cgroup.procs", "0")
        return self

    def __exit__(self, *_: object) -> None:
        """Moves this process back. Raises RuntimeError if it cannot; it must end then."""
        try:
            _write(f"{self._home}/cgroup.procs", "0")
        except OSError as error:
            msg = "a worker cannot leave the control group of a run"
            raise RuntimeError(msg) from error

    def limit_memory(self, limit: int) -> None:
        """Has the kernel kill the whole group if it needs more bytes, swap included.

        Call it after this process has left the group, because it needs memory to start a command.
        Raises OSError.
        """
        _write(f"{self._path}/memory.oom.group", "1")
        if os.path.exists(f"{self._path}/memory.swap.max"):  # absent if the kernel has no swap
            _write(f"{self._path}/memory.swap.max", "0")
        _write(f"{self._path}/memory.max", str(limit))

    def freeze(self) -> bool:
        """Stops all processes of the group until `thaw`; they still die by KILL.

        Returns False if the kernel cannot: cgroup.freeze came with Linux 5.2.
        """
        try:
            _write(f"{self._path}/cgroup.freeze", "1")
        except OSError:
            return False
        return True

    def thaw(self) -> None:
        """Lets the processes of the group go on; a group that is gone has none."""
        with contextlib.suppress(OSError):
            _write(f"{self._path}/cgroup.freeze", "0")

    def kill(self) -> None:
        """Kills all processes of the group, also those of other users.

        Each process is signalled as well, because cgroup.kill came with Linux 5.14 and misses
        processes whose first thread has ended.
        """
        with contextlib.suppress(OSError):
            _write(f"{self._path}/cgroup.kill", "1")
        for process in self.processes():
            procfs.send_signal(process, signal.SIGKILL)

    def used(self) -> Used:
        """Returns what the group has used until now."""
        cpu_us = _table(f"{self._path}/cpu.stat").get("usage_usec")
        peak = _read(f"{self._path}/memory.peak") if self.memory else ""
        return Used(
            cpu_ms=None if cpu_us is None else round(cpu_us / 1000),
            peak_kib=int(peak) // 1024 if peak else None,
        )

    def ran_out_of_memory(self) -> bool:
        """Returns whether the kernel has killed a process of it for lack of memory."""
        return self.memory and _table(f"{self._path}/memory.events").get("oom_kill", 0) > 0

    def remove(self) -> bool:
        """Removes the group; returns False if a process in it is alive, or may be.

        An empty group stays if this user cannot remove a group that a command has created below it.
        """
        try:
            os.rmdir(self._path)
        except FileNotFoundError:
            return True
        except OSError:
            if _table(f"{self._path}/cgroup.events").get("populated", 1):
                return False
            self._remove_all()
        return True

    def _remove_all(self) -> None:
        """Removes the group and those that a command has created below it."""
        with contextlib.suppress(OSError):
            for path in reversed(procfs.directories(self._path)):
                os.rmdir(path)

    def processes(self) -> list[Process]:
        """Returns the living processes of the group and of those below it.

        The kernel lists those of a threaded group in the group above it alone.
        """
        found = map(procfs.read_process, procfs.grouped(self._path))
        return [process for process in found if process is not None and not process.dead]


class RunCgroups:
    """The control groups of an instance's runs. Create it before the first fork."""

    def __init__(self, directory: str, instance: str, *, memory: bool) -> None:
        self._directory = directory
        self._instance = instance
        self._memory = memory

    def create(self, job: str, attempt: int) -> Cgroup:
        """Creates the group of a new run. Raises OSError."""
        path = self._path(RunName(job.encode(), str(attempt).encode()), self._instance)
        os.mkdir(path)
        return self._group(path)

    def kill(self, runs: Collection[RunName], instance: str | None = None) -> Found:
        """Kills the groups of these runs of `instance` (default: of this one).

        Returns their living processes. Groups without any are removed.
        """
        groups = [self._group(self._path(run, instance or self._instance)) for run in runs]
        living = [group for group in groups if not group.remove()]
        found = [process for group in living for process in group.processes()]
        for group in living:
            group.kill()
        return Found(found, unseen=bool(living))

    def sweep(
        self, instance: str | None = None, busy: Callable[[], Collection[RunName]] = tuple
    ) -> None:
        """Removes the empty groups of `instance` (default: of this one), except those of `busy`.

        `busy` returns the runs that begin or go on. It is called after the groups were listed,
        because a run is recorded before its group is created.
        """
        prefix = f"{instance or self._instance}."
        found = procfs.subdirectories(self._directory)
        in_use = {self._path(run, self._instance) for run in busy()}
        for path in found:
            if path not in in_use and os.path.basename(path).startswith(prefix):
                self._group(path).remove()

    def _path(self, run: RunName, instance: str) -> str:
        job, attempt = (part.decode("utf-8", "surrogateescape") for part in run)
        return f"{self._directory}/{instance}.{job}.{attempt}"

    def _group(self, path: str) -> Cgroup:
        return Cgroup(path, f"{self._directory}/{_SERVICE}", memory=self._memory)


def delegated(instance: str) -> RunCgroups | None:
    """Moves this process into a group below its own, if that was delegated to it.

    Returns None if it was not delegated or cannot be used.
    """
    directory = _own_directory()
    if not directory:
        return None
    try:
        if os.getxattr(directory, _MARK) != b"1":
            return None
        home = f"{directory}/{_SERVICE}"
        os.makedirs(home, exist_ok=True)
        if not _pids(home):  # no other service is in it
            for path in procfs.subdirectories(directory):
                Cgroup(path, home, memory=False).remove()
            os.makedirs(home, exist_ok=True)
        _write(f"{home}/cgroup.procs", "0")
    except OSError:
        return None
    return RunCgroups(directory, instance, memory=_controls_memory(directory))


def _controls_memory(directory: str) -> bool:
    """Turns on the memory controller for runs; returns whether the kernel has it."""
    try:
        _write(f"{directory}/cgroup.subtree_control", "+memory")
    except OSError:
        return False
    return True


def _own_directory() -> str:
    """Returns the directory of the group of this process; empty if there is none."""
    names = [line[3:] for line in _read("/proc/self/cgroup").splitlines() if line[:3] == "0::"]
    for line in _read("/proc/self/mountinfo").splitlines() if names else ():
        fields, _, kind = line.partition(" - ")
        root, place = fields.split()[3:5]
        if kind.split()[0] == "cgroup2" and root == "/":
            return place + names[0].rstrip("/")
    return ""


def _pids(path: str) -> list[int]:
    return [int(line) for line in _read(f"{path}/cgroup.procs").split()]


def _table(path: str) -> dict[str, int]:
    lines = (line.split() for line in _read(path).splitlines())
    return {name: int(value) for name, value in lines}


def _read(path: str) -> str:
    """Returns the content of a kernel file; nothing if the file is gone or cannot be read."""
    return procfs.read(path).decode()


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
