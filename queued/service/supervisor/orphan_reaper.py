"""What dead workers left. The supervisor is the subreaper of all that its workers started.

It is killed before the death of a worker is made known, except what a job left on purpose.
"""

import os
from collections.abc import Collection

from queued.service.linux import procfs, run_mark
from queued.service.linux.detached_processes import DetachedProcesses
from queued.service.linux.procfs import Process, RunName


class OrphanReaper:
    """The supervisor's view of what its workers left, now and earlier."""

    def __init__(self) -> None:
        self._detached = DetachedProcesses()

    def exempt_all(self) -> None:
        """Exempts what descends from this process before it has started anything."""
        self._detached.add(procfs.descendants(os.getpid()))

    def scan(self, own: Collection[int]) -> list[Process]:
        """Returns all that descends from this process and from none of its `own` children."""
        return procfs.descendants(os.getpid(), without=own)

    def leftovers(self, found: list[Process], lost: Collection[RunName]) -> list[Process]:
        """Returns the part of `found` that must be killed.

        What one of the `lost` runs left must be killed even if its job may leave processes. The
        dead must be collected after the scan: a process whose orphans were seen is dead by then.
        """
        self._detached.forget_dead(found)
        unknown = [process for process in self._detached.without(found) if not process.dead]
        self._detached.add([process for process in unknown if _may_stay(process, lost)])
        return self._detached.without(unknown)


def _may_stay(process: Process, lost: Collection[RunName]) -> bool:
    """What a worker that left cleanly leaves may stay. After a loss, only what is marked so."""
    mark = run_mark.of_process(process.pid)
    return not lost if mark is None else run_mark.left_on_purpose(mark, lost)
