"""The mark that all processes of a run inherit, by which they are found after a crash.

It is in the environment; a program may remove that (`env -i`), and the kernel hides it if the
process is not dumpable or another user's. So the mark is also a resource limit: RLIMIT_RTTIME, the
CPU time without a pause under real-time scheduling. Its soft limit is set to at least 2**62
microseconds, which has no effect. /proc/PID/limits shows it to every user, unless /proc hides the
process.
"""

import contextlib
import os
import resource
import zlib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import NamedTuple, NewType

from queued.service.linux import procfs
from queued.service.linux.procfs import Process, RunName

INSTANCE = b"QUEUED_INSTANCE"
LEAVE_CHILDREN = b"QUEUED_LEAVE_CHILDREN"

_IS_MARK = 1 << 62  # and below the bit that makes a number negative
_STAYS = 1 << 60  # the job may leave processes (`leave_children`)
_RUN_BITS = 28  # a checksum of the run's name, below 32 bits with one of the instance's
_RUN_MASK = (1 << _RUN_BITS) - 1
_LINE = b"Max realtime timeout"
_MOST_DESCRIPTORS = 1 << 20

RunMark = NewType("RunMark", int)  # the value of the limit


class MarkedProcess(NamedTuple):
    """A process with its mark."""

    process: Process
    mark: RunMark


def of_environment(variables: Mapping[bytes, bytes]) -> RunMark | None:
    """Returns the mark in an environment; None if there is none."""
    instance = variables.get(INSTANCE)
    if instance is None:
        return None
    run = variables.get(b"QUEUED_JOB_ID", b""), variables.get(b"QUEUED_ATTEMPT", b"")
    stays = _STAYS if LEAVE_CHILDREN in variables else 0
    return RunMark(_IS_MARK | stays | zlib.crc32(instance) << _RUN_BITS | _checksum(run))


def mark_this_process(mark: RunMark) -> None:
    """Sets the limit of this process to the mark, so that all that it starts inherit it.

    Does nothing if the hard limit is finite; then the mark is in the environment only.
    """
    if _may_mark():
        resource.setrlimit(resource.RLIMIT_RTTIME, (mark, resource.RLIM_INFINITY))


def leave_run() -> None:
    """Makes this process none of the run whose command has started it, if there is such a run.

    A service that a job starts, or that has variables which a job has left, would else kill itself
    when it rescues that job. It closes what it has inherited, the lock of the run among it.
    """
    if of_process(os.getpid()) is not None:
        mark_this_process(RunMark(_IS_MARK))
        os.closerange(3, _MOST_DESCRIPTORS)


@cache
def _may_mark() -> bool:
    return resource.getrlimit(resource.RLIMIT_RTTIME)[1] == resource.RLIM_INFINITY


def of_process(pid: int) -> RunMark | None:
    """Returns the mark of a process: that of its limit, else of its environment, else None."""
    limit = _limit(pid)
    if limit > 0 and limit & _IS_MARK:
        return RunMark(limit)
    return of_environment(procfs.environment(pid))


def _limit(pid: int) -> int:
    """Returns the soft limit of a process; -1 if it is infinite or cannot be read.

    prlimit(2) reads it from all processes of this user; /proc hides those that are not dumpable.
    """
    with contextlib.suppress(OSError):
        return resource.prlimit(pid, resource.RLIMIT_RTTIME)[0]
    for line in procfs.read(f"/proc/{pid}/limits").splitlines():
        if line.startswith(_LINE):
            soft = line[len(_LINE) :].split()[0]
            return int(soft) if soft.isdigit() else -1
    return -1


def marked_processes(instance: str) -> Iterator[MarkedProcess]:
    """Returns the living processes with the mark of the instance: its workers and its runs."""
    wanted = zlib.crc32(instance.encode())
    shown = procfs.all_processes()
    for process in (*shown.values(), *procfs.hidden_processes(shown)):
        if not process.dead and process.pid != os.getpid():
            mark = of_process(process.pid)
            if mark is not None and mark >> _RUN_BITS & 0xFFFFFFFF == wanted:
                yield MarkedProcess(process, mark)


def may_stay(mark: RunMark) -> bool:
    """Returns whether the mark is that of a job with `leave_children`; a command may forge it."""
    return bool(mark & _STAYS)


def left_on_purpose(mark: RunMark, running: Collection[RunName]) -> bool:
    """Returns whether it marks a job with `leave_children` that is none of the running ones."""
    run = mark & _RUN_MASK
    return may_stay(mark) and run not in {_checksum(name) for name in running}


def _checksum(run: tuple[bytes, bytes]) -> int:
    return zlib.crc32(b"%b %b" % run) & _RUN_MASK
