"""Remembers the processes that jobs with `leave_children` left alive on purpose.

They, and what they start later, must not be killed with the next job of the worker.
"""

from queued.service.linux import procfs
from queued.service.linux.procfs import Process


class DetachedProcesses:
    """A set of processes, named by pid and start time, that grows by their descendants."""

    def __init__(self) -> None:
        self._known: set[tuple[int, int]] = set()
        self._sessions: set[int] = set()

    def __bool__(self) -> bool:
        """Whether any is known."""
        return bool(self._known)

    def add(self, left: list[Process]) -> None:
        """Exempts these from now on, with their sessions and descendants."""
        self._known |= {(process.pid, process.started) for process in left}
        self._sessions |= {process.session for process in left}

    def has(self, pid: int) -> bool:
        """Returns whether the process of that pid, dead or alive, is exempt."""
        process = procfs.look(pid)
        return process is not None and not self.without([process])

    def without(self, living: list[Process]) -> list[Process]:
        """Returns those of `living` (parents before children) that are not exempt.

        A descendant of an exempt process is exempt from now on, and so is a process of its session
        whose own parent has gone.
        """
        exempt_pids: set[int] = set()
        others: list[Process] = []
        kept: list[Process] = []
        for process in living:
            if (
                (process.pid, process.started) in self._known
                or process.parent in exempt_pids
                or process.session in self._sessions
            ):
                exempt_pids.add(process.pid)
                kept.append(process)
            else:
                others.append(process)
        self.add(kept)
        return others

    def forget_dead(self, living: list[Process]) -> None:
        """Drops all others, so that a reused pid or session id is not exempt."""
        self._known &= {(process.pid, process.started) for process in living}
        self._sessions &= {process.session for process in living}
