"""Remembers the processes that jobs with `leave_children` left alive on purpose.

They are children of the supervisor, or of each other, and so are processes that they start later.
They must not be killed together with the leftovers of a dead worker.
"""

from collections.abc import Iterable

from queued.service.linux.procfs import Process


class DetachedProcesses:
    """A set of processes, named by pid and start time, that grows by their descendants."""

    def __init__(self) -> None:
        self._known: set[tuple[int, int]] = set()
        self._sessions: set[int] = set()

    def add(self, processes: Iterable[Process]) -> None:
        """Exempts these processes and their sessions."""
        for process in processes:
            self._known.add((process.pid, process.started))
            self._sessions.add(process.session)

    def add_descendants(self, found: list[Process]) -> None:
        """Exempts those of `found` that descend from an exempt process or are of its session.

        `found` has parents before children. A session counts because the parent of a process may
        have ended since.
        """
        exempt_pids: set[int] = set()
        for process in found:
            if process.parent in exempt_pids or self._is_exempt(process):
                exempt_pids.add(process.pid)
                self.add([process])

    def forget_others(self, found: list[Process]) -> None:
        """Forgets all that is not in `found`, so that a reused pid or session id is not exempt."""
        self._known &= {(process.pid, process.started) for process in found}
        self._sessions &= {process.session for process in found}

    def without(self, found: list[Process]) -> list[Process]:
        """Returns those of `found` that are not exempt."""
        return [process for process in found if not self._is_exempt(process)]

    def _is_exempt(self, process: Process) -> bool:
        return (process.pid, process.started) in self._known or process.session in self._sessions
