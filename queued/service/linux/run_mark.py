"""The mark that all processes of a run inherit, by which they are found after a crash.

It is in the environment; a program may remove that (`env -i`), and the kernel hides it if the
process is not dumpable or another user's. So the mark is also a resource limit: RLIMIT_RTTIME, the
CPU time without a pause under real-time scheduling. Its soft limit is set to at least 2**62
microseconds, which has no effect. /proc/PID/limits shows it to every user.
"""

import os
import resource
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from queued.service.linux import procfs
from queued.service.linux.procfs import Process, RunName

INSTANCE = b"QUEUED_INSTANCE"
LEAVE_CHILDREN = b"QUEUED_LEAVE_CHILDREN"

_IS_MARK = 1 << 62  # and below the bit that makes a number negative
_STAYS = 1 << 60
_RUN_BITS = 28
_LINE = b"Max realtime timeout"


class RunMark(NamedTuple):
    """The run that a process belongs to, as checksums of names."""

    instance: int
    run: int
    stays: bool  # whether the job may leave processes (`leave_children`)


class MarkedProcess(NamedTuple):
    """A process with its mark."""

    process: Process
    mark: RunMark


def of_environment(variables: Mapping[bytes, bytes]) -> RunMark | None:
    """Returns the mark in an environment; None if there is none."""
    if INSTANCE not in variables:
        return None
    return RunMark(
        zlib.crc32(variables[INSTANCE]),
        _checksum(run_of(variables)),
        LEAVE_CHILDREN in variables,
    )


def mark_this_process(mark: RunMark) -> None:
    """Sets the limit of this process to the mark, so that all that it starts inherit it.

    Does nothing if the hard limit is finite; then the mark is in the environment only.
    """
    value = _IS_MARK | _STAYS * mark.stays | mark.instance << _RUN_BITS | mark.run
    _, most = resource.getrlimit(resource.RLIMIT_RTTIME)
    if most == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_RTTIME, (value, most))


def of_process(pid: int) -> RunMark | None:
    """Returns the mark of a process: that of its limit, else of its environment, else None."""
    for line in procfs.read(f"/proc/{pid}/limits").splitlines():
        if line.startswith(_LINE):
            soft = line[len(_LINE) :].split()[0]
            value = int(soft) if soft.isdigit() else 0
            if value & _IS_MARK:
                return _decoded(value)
    return of_environment(procfs.environment(pid))


def marked_processes(instance: str) -> Iterator[MarkedProcess]:
    """Returns the living processes with the mark of the instance: its workers and its runs."""
    wanted = zlib.crc32(instance.encode())
    for process in procfs.all_processes().values():
        if not process.dead and process.pid != os.getpid():
            mark = of_process(process.pid)
            if mark is not None and mark.instance == wanted:
                yield MarkedProcess(process, mark)


def left_on_purpose(mark: RunMark, running: Collection[RunName]) -> bool:
    """Returns whether it marks a job with `leave_children` that is none of the running ones."""
    return mark.stays and mark.run not in {_checksum(name) for name in running}


def run_of(variables: Mapping[bytes, bytes]) -> RunName:
    """Returns the name of the run that an environment belongs to."""
    return RunName(variables.get(b"QUEUED_JOB_ID", b""), variables.get(b"QUEUED_ATTEMPT", b""))


def _checksum(name: RunName) -> int:
    return zlib.crc32(b"%b %b" % name) & ((1 << _RUN_BITS) - 1)


def _decoded(value: int) -> RunMark:
    return RunMark(
        value >> _RUN_BITS & 0xFFFFFFFF, value & ((1 << _RUN_BITS) - 1), bool(value & _STAYS)
    )
