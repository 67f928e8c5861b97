"""What dead workers left. The supervisor is the subreaper of all that its workers started.

It is killed before the death of a worker is made known, except what a job left on purpose.
"""

import os
import signal
import time
from collections.abc import Collection

from queued.service.linux import procfs
from queued.service.linux.detached_processes import DetachedProcesses
from queued.service.linux.procfs import Process, RunName

_DYING_S = 0.002


class OrphanReaper:
    """The supervisor's view of what its workers left, now and earlier."""

    def __init__(self) -> None:
        self._detached = DetachedProcesses()

    def spare_all(self) -> None:
        """What descends from us before we have started anything is somebody else's."""
        self._detached.add(procfs.descendants(os.getpid()))

    def look(self, own: Collection[int]) -> list[Process]:
        """All that descends from us and from none of our `own` children."""
        return procfs.descendants(os.getpid(), without=own)

    def kill(
        self, found: list[Process], lost: Collection[RunName]
    ) -> tuple[list[Process], list[Process]]:
        """Kills what must not stay of `found`: what was killed, and what we may not kill.

        Look again unless there was none. What one of the `lost` runs left is killed even if its
        job may leave processes. The runs must be collected after the look: whose orphans were
        seen by it is dead by now.
        """
        self._detached.forget_dead(found)
        unknown = [process for process in self._detached.without(found) if not process.zombie]
        self._detached.add([process for process in unknown if _may_stay(process, lost)])
        left = self._detached.without(unknown)
        killed = [process for process in left if procfs.send(process, signal.SIGKILL)]
        if killed:
            time.sleep(_DYING_S)  # the kernel takes them down
        return killed, [process for process in left if process not in killed and _alive(process)]


def _alive(process: Process) -> bool:
    now = procfs.again(process)
    return now is not None and not now.zombie


def _may_stay(process: Process, lost: Collection[RunName]) -> bool:
    """What a worker that left cleanly leaves may stay. After a loss, only what is marked so."""
    if b"QUEUED_INSTANCE" not in procfs.environment(process.pid):
        return not lost
    return procfs.left_on_purpose(process.pid, lost)
