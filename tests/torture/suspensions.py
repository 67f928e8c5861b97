"""The suspension of a queue in a torture: what the harness sees of its runs until they go on.

Nothing may advance between the time at which all runs were seen frozen and the resume. How long
that takes depends on what is stopped and killed meanwhile, so it has only a generous limit.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from queued.core.model import Label
from queued.core.records import JobFilter
from queued.service.linux import procfs
from queued.service.linux.procfs import Process
from tests.service import Queue, alive, states_of
from tests.torture.history import Run, Suspension, marks

_LIMIT = 12  # in leases, for all runs to freeze, and to go on; a dead host is found after its lease
_INTERVAL_S = 0.2  # between two scans of all processes


class Watch:
    """Watches the runs of a queue from its suspension until those that were frozen go on."""

    def __init__(self, queue: Queue, name: str, traces: Path, lease_s: float) -> None:
        self._length_s = _LIMIT * lease_s
        self.name = name
        self.frozen_cs: int | None = None  # when all runs had been seen frozen
        self.seen: Suspension | None = None  # once the runs go on
        self._queue = queue
        self._traces = traces
        self._runs = frozenset[Run]()
        self._processes: list[Process] = []
        self._resumed_cs: int | None = None
        self._next_s = 0.0
        self._limit_s = time.monotonic() + self._length_s
        self._late: list[str] = []

    @property
    def waits(self) -> bool:
        """Whether not all runs were seen frozen yet, and there is time left."""
        return self.frozen_cs is None and not self._late

    def look(self) -> None:
        """Looks at the processes of the runs, if it is time."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _INTERVAL_S
            if self._resumed_cs is not None:
                self._look_for_stopped(self._resumed_cs, is_late=now_s > self._limit_s)
            elif self.waits:
                self._look_for_running(is_late=now_s > self._limit_s)

    def resume(self) -> None:
        """Call it before the queue is resumed."""
        self._resumed_cs = uptime_cs()
        self._limit_s = time.monotonic() + self._length_s

    def _look_for_running(self, *, is_late: bool) -> None:
        """Two scans must find the same, because a process may fork and be frozen during one."""
        running = self._queue.store.list(JobFilter((Label.PROCESSING,), queue=self.name))
        runs = frozenset((job.id, job.runs) for job in running)
        shells = {f"{name} attempt {n}": self._shell(name, n) for name, n in runs}
        going_on = [run for run, shell in shells.items() if shell is None or not alive(shell)]
        found = _with_descendants([shell for shell in shells.values() if shell is not None])
        going_on += [f"pid {process.pid}" for process in found if not _is_frozen(process, found)]
        if not going_on and (runs, found) == (self._runs, self._processes):
            self.frozen_cs = uptime_cs()
        elif is_late:
            self._late = [f"{self.name} was not frozen: {what}" for what in going_on or ["?"]]
        self._runs, self._processes = runs, found

    def _look_for_stopped(self, resumed_cs: int, *, is_late: bool) -> None:
        stopped = [process.pid for process in self._processes if is_stopped(process)]
        if self.frozen_cs is not None and stopped and not is_late:
            return
        self.seen = Suspension(
            queue=self.name,
            runs=self._runs if self.frozen_cs is not None else frozenset(),
            frozen_cs=self.frozen_cs or resumed_cs,
            resumed_cs=resumed_cs,
            late=self._late,
            stuck=[] if self.frozen_cs is None else [f"pid {pid}" for pid in stopped],
        )

    def _shell(self, name: str, attempt: int) -> int | None:
        """Returns the pid of the command of a run; None if it has not begun."""
        file = self._traces / f"{name}.trace"
        found = marks(file) if file.exists() else []
        return next((mark.pid for mark in found if mark.attempt == attempt), None)


def _with_descendants(pids: list[int]) -> list[Process]:
    """Returns the processes and their descendants that live."""
    found = [*map(procfs.read_process, pids), *procfs.descendants(*pids)]
    return [process for process in found if process is not None and not process.dead]


def uptime_cs() -> int:
    """Returns the time since boot as the commands write it into their traces."""
    return round(float(procfs.read("/proc/uptime").split()[0]) * 100)


def _is_frozen(process: Process, found: list[Process]) -> bool:
    """Returns whether it is stopped, or waits in vfork(2) for a child that is."""
    waits = states_of([process.pid]) == {"D"}
    children = [one for one in found if one.parent == process.pid]
    return is_stopped(process) or (waits and any(map(is_stopped, children)))


def is_stopped(process: Process) -> bool:
    """Returns whether all its threads are stopped; a first thread that has ended shows `Z`."""
    with suppress(OSError):
        tasks = os.listdir(f"/proc/{process.pid}/task")
        stats = [procfs.read(f"/proc/{process.pid}/task/{task}/stat") for task in tasks]
        states = {stat.rpartition(b") ")[2][:1] for stat in stats} - {b"", b"Z"}
        return states == {b"T"} and procfs.refresh(process) is not None
    return False
