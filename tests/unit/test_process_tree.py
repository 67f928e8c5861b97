"""The work that a signal to all processes of a run makes, if they are thousands of groups."""

import os
import signal
from collections.abc import Iterator

from queued.service.linux.procfs import Process
from queued.service.worker.process_tree import ProcessTree

NO_PID = 1 << 23  # larger than the largest pid, so that no process gets a signal


class CountedList(list[Process]):
    """Counts how many items were read."""

    read = 0

    def __iter__(self) -> Iterator[Process]:
        for process in super().__iter__():
            self.read += 1
            yield process


class TreeOf(ProcessTree):
    """The tree of a run with these processes."""

    def __init__(self, processes: list[Process]) -> None:
        super().__init__({})
        self._processes = processes

    def leftovers(self) -> list[Process]:
        return self._processes


def test_the_work_grows_with_the_number_of_processes_not_with_its_square() -> None:
    """A worker that was busy for seconds answered no ping meanwhile."""
    pids = range(NO_PID, NO_PID + 1000)
    found = CountedList(Process(pid, os.getpid(), pid, pid, 1, dead=False) for pid in pids)
    assert TreeOf(found).signal(signal.SIGTERM), "all have ended meanwhile"
    assert found.read <= 10 * len(found)
