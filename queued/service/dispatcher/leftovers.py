"""Kills leftover processes of a dead instance, found by mark, session, lock and control group."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from queued.core.run_note_layout import CommandSession
from queued.core.runs import Claim
from queued.service.linux import procfs, run_mark
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.killing import Found, Killed, kill_until_gone
from queued.service.linux.procfs import Process, RunName


class RunsLock(Protocol):
    """The lock that the runs of a dead instance have inherited."""

    def is_held(self) -> bool:
        """Returns whether any process holds it, also one of another container or user."""
        ...

    def holders(self) -> set[int]:
        """Returns the pids of its holders, as far as /proc shows them to this process."""
        ...


def kill_leftovers(  # noqa: PLR0913  each way to find them
    instance: str,
    claims: Iterable[Claim],
    noted: Mapping[int, CommandSession],
    cgroups: RunCgroups | None = None,
    lock: RunsLock | None = None,
    *,
    within_s: float = 0.5,
) -> Killed:
    """Kills every process that a dead instance's commands left; removes empty control groups.

    Processes that a finished job left on purpose (`leave_children`) stay. A process that now
    belongs to another user, or hangs in a system call, may still be alive after `within_s`.
    """
    running = {_name(claim) for claim in claims}
    sessions = RunSessions(noted[c.key.token] for c in claims if c.key.token in noted)

    def find() -> Found:
        found = sessions.scan()
        own = {*run_processes(instance, running), *found.own}
        grouped = Found([]) if cgroups is None else cgroups.kill(running, instance)
        own |= {*grouped.own}
        held = lock is not None and lock.is_held()
        if lock is not None and held:
            own |= {*_holders(lock)}
        return Found([*own], [p for p in found.ambiguous if p not in own], grouped.unseen or held)

    killed = kill_until_gone(find, within_s)
    if cgroups is not None:
        cgroups.sweep(instance)
    return killed


def _holders(lock: RunsLock) -> list[Process]:
    """Returns the living processes that hold the lock.

    The processes are listed first, so that a pid that is reused meanwhile names the earlier process
    and is not signalled.
    """
    processes = procfs.all_processes()
    return [
        process
        for pid in lock.holders()
        if (process := processes.get(pid)) is not None and not process.dead
    ]


class RunSessions:
    """Sessions of runs that may go on.

    A session whose leader was seen belongs to the run. A session without its leader may belong to
    another program, which had the same pid later and has ended. So it is waited for, and no
    process in it is killed.
    """

    def __init__(self, run_notes: Iterable[CommandSession]) -> None:
        self._sessions = {session.leader: session for session in run_notes if session.leader}
        self._seen: set[int] = set()

    def scan(self) -> Found:
        """Returns the living processes of the sessions, and their descendants."""
        processes = procfs.all_processes()
        for leader, session in list(self._sessions.items()):
            process = processes.get(leader)
            if process is not None and session.led_by(process.pid, process.started):
                self._seen.add(leader)
            elif process is not None:
                del self._sessions[leader]  # a pid is reused only once its session is empty
        living = [process for process in processes.values() if not process.dead]
        living += procfs.hidden_processes(processes)
        others = self._sessions.keys() - self._seen
        return Found(
            _tree([process for process in living if process.session in self._seen]),
            _tree([process for process in living if process.session in others]),
        )


def _tree(members: list[Process]) -> list[Process]:
    """Returns the processes and their descendants, which may contain a process twice."""
    if not members:
        return []
    below = procfs.descendants(*(member.pid for member in members))
    return [*members, *(process for process in below if not process.dead)]


def _name(claim: Claim) -> RunName:
    return RunName(claim.id.encode(), str(claim.key.attempt).encode())


def run_processes(instance: str, running: set[RunName]) -> list[Process]:
    """Returns the living processes that bear an instance's mark, less those left on purpose."""
    return _tree(
        [
            found.process
            for found in run_mark.marked_processes(instance)
            if not run_mark.left_on_purpose(found.mark, running)
        ]
    )
