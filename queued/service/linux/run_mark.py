"""The mark of a run on all of its processes, by which they are found when nothing else names them.

It is in the environment, where a program may remove it (`env -i`) or hide it (one that is not
dumpable or has become another user's). So it is also a limit that means nothing else: the soft
limit of CPU time without a pause under real-time scheduling, at least 2**62 microseconds. It is
inherited through everything, and /proc/PID/limits shows it to every user.
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
    """Which run a process belongs to, as checksums of names."""

    instance: int
    run: int
    stays: bool  # whether the job may leave processes (`leave_children`)


class MarkedProcess(NamedTuple):
    """A process with its mark."""

    process: Process
    mark: RunMark


def of_environment(variables: Mapping[bytes, bytes]) -> RunMark | None:
    """Returns the mark that an environment bears; None if there is none."""
    if INSTANCE not in variables:
        return None
    return RunMark(
        zlib.crc32(variables[INSTANCE]),
        _checksum(run_of(variables)),
        LEAVE_CHILDREN in variables,
    )


def put(mark: RunMark) -> None:
    """Marks this process, and so all that it starts from now on.

    Does nothing where the limit may not be so high: the environment must serve alone there.
    """
    value = _IS_MARK | _STAYS * mark.stays | mark.instance << _RUN_BITS | mark.run
    _, most = resource.getrlimit(resource.RLIMIT_RTTIME)
    if most == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_RTTIME, (value, most))


def of_process(pid: int) -> RunMark | None:
    """Returns the mark of a process; None if it has none. Its limit is believed first."""
    for line in procfs.read(f"/proc/{pid}/limits").splitlines():
        if line.startswith(_LINE):
            soft = line[len(_LINE) :].split()[0]
            value = int(soft) if soft.isdigit() else 0
            if value & _IS_MARK:
                return _decoded(value)
    return of_environment(procfs.environment(pid))


def marked(instance: str) -> Iterator[MarkedProcess]:
    """Returns living processes that bear the mark of the instance: its workers and its runs."""
    wanted = zlib.crc32(instance.encode())
    for process in procfs.everyone().values():
        if not process.dead and process.pid != os.getpid():
            mark = of_process(process.pid)
            if mark is not None and mark.instance == wanted:
                yield MarkedProcess(process, mark)


def left_on_purpose(mark: RunMark, running: Collection[RunName]) -> bool:
    """Returns whether a job with `leave_children`, other than those that were running, left it."""
    return mark.stays and mark.run not in {_checksum(name) for name in running}


def run_of(variables: Mapping[bytes, bytes]) -> RunName:
    """Returns which run an environment belongs to."""
    return variables.get(b"QUEUED_JOB_ID", b""), variables.get(b"QUEUED_ATTEMPT", b"")


def _checksum(name: RunName) -> int:
    return zlib.crc32(b"%b %b" % name) & ((1 << _RUN_BITS) - 1)


def _decoded(value: int) -> RunMark:
    return RunMark(
        value >> _RUN_BITS & 0xFFFFFFFF, value & ((1 << _RUN_BITS) - 1), bool(value & _STAYS)
    )
