"""Finds the processes that dead workers left; the supervisor is their subreaper.

The supervisor kills them before it reports the death, except those that a job left on purpose.
"""

import os
from collections.abc import Collection
from typing import NamedTuple

from queued.service.linux import procfs, run_mark
from queued.service.linux.procfs import Process
from queued.service.linux.run_mark import RunMark
from queued.service.supervisor.detached_processes import DetachedProcesses


class Deaths(NamedTuple):
    """The runs of the workers that died, as far as the supervisor knows them."""

    lost: bool  # whether a run is lost: its processes must be killed even if its job may leave some
    left: Collection[RunMark]  # the marks of last runs of workers that left processes on purpose


class OrphanReaper:
    """Searches the descendants of the supervisor, without its children, for those to kill."""

    def __init__(self) -> None:
        self._detached = DetachedProcesses()
        self._marks = set[RunMark]()  # of the runs that left processes on purpose

    def exempt_all(self) -> None:
        """Exempts the descendants of this process; call it before the first fork."""
        self._detached.add(procfs.descendants(os.getpid()))

    def scan(self, own: Collection[int]) -> list[Process]:
        """Returns the descendants of this process, without its `own` children and theirs."""
        return procfs.descendants(os.getpid(), without=own)

    def leftovers(self, found: list[Process], deaths: Deaths) -> list[Process]:
        """Returns those of `found` that must be killed.

        The caller collects dead children after `scan`, so that `deaths` includes a worker that died
        during the scan and whose orphans the scan has found.
        """
        if deaths.left:
            self._marks &= {run_mark.of_process(process.pid) for process in found}
            self._marks |= {*deaths.left}
        self._detached.forget_others(found)
        self._detached.add_descendants(found)
        unknown = [process for process in self._detached.without(found) if not process.dead]
        self._detached.add(process for process in unknown if self._may_stay(process, deaths))
        self._detached.add_descendants(unknown)
        return self._detached.without(unknown)

    def must_die(self, pid: int, deaths: Deaths) -> bool:
        """Returns whether that child of this process is one that `leftovers` would return.

        A dead process counts, because it may have forked another one.
        """
        process = procfs.read_child(pid)
        if process is None or not self._detached.without([process]):
            return False
        return process.dead or not self._may_stay(process, deaths)

    def _may_stay(self, process: Process, deaths: Deaths) -> bool:
        """Returns whether the process may stay.

        If a run is lost, only the marks that workers have recorded are believed, because a command
        may change its own.
        """
        mark = run_mark.of_process(process.pid)
        if deaths.lost:
            return mark in self._marks or mark in deaths.left
        return mark is None or run_mark.may_stay(mark)
