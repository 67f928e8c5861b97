"""What is alive of a dead instance's runs: found by mark, session and control group, and killed."""

from collections.abc import Callable, Iterable, Mapping

from queued.core.model import Claim
from queued.service.ipc.run_notes import CommandSession
from queued.service.linux import procfs, run_mark
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.killing import Found, Killed, kill_until_gone
from queued.service.linux.procfs import Process, RunName

_KILLING_S = 0.5


def kill_leftovers(
    instance: str,
    claims: Iterable[Claim],
    noted: Mapping[int, CommandSession],
    cgroups: RunCgroups | None = None,
    runs_alive: Callable[[], bool] = lambda: False,
) -> Killed:
    """Kills every process that a dead instance's commands left; empty control groups are removed.

    `runs_alive` is the word of the lock that they hold, for what no search of this process finds.

    Those that a finished job left on purpose (`leave_children`) stay. What has become another
    user's, or is stuck in the kernel, is still alive after a while.
    """
    running = {_name(claim) for claim in claims}
    sessions = RunSessions(noted[c.key.token] for c in claims if c.key.token in noted)

    def find() -> Found:
        found = sessions.scan()
        own = {*run_processes(instance, running), *found.own}
        grouped = Found([]) if cgroups is None else cgroups.kill(running, instance)
        own |= {*grouped.own}
        unseen = grouped.unseen or runs_alive()
        return Found([*own], [p for p in found.ambiguous if p not in own], unseen)

    killed = kill_until_gone(find, _KILLING_S)
    if cgroups is not None:
        cgroups.sweep(instance)
    return killed


class RunSessions:
    """Sessions of runs that may go on.

    A session whose leader was seen is the run's own. Without a leader it may be that of another
    program that had the same pid later and is gone, too: it is waited for, and nothing in it is
    killed.
    """

    def __init__(self, run_notes: Iterable[CommandSession]) -> None:
        self._sessions = {session.leader: session for session in run_notes if session.leader}
        self._seen: set[int] = set()

    def scan(self) -> Found:
        """Returns what lives in the sessions, and what descends from that."""
        everyone = procfs.all_processes()
        for leader, session in list(self._sessions.items()):
            process = everyone.get(leader)
            if process is not None and session.led_by(process):
                self._seen.add(leader)
            elif process is not None:
                del self._sessions[leader]  # its pid was free, so nothing was in the session
        living = [process for process in everyone.values() if not process.dead]
        others = self._sessions.keys() - self._seen
        return Found(
            _tree([process for process in living if process.session in self._seen]),
            _tree([process for process in living if process.session in others]),
        )


def _tree(members: list[Process]) -> list[Process]:
    """These and what descends from them. One may descend from another and be there twice."""
    if not members:
        return []
    below = procfs.descendants(*(member.pid for member in members))
    return [*members, *(process for process in below if not process.dead)]


def _name(claim: Claim) -> RunName:
    return RunName(claim.id.encode(), str(claim.key.attempt).encode())


def run_processes(instance: str, running: set[RunName]) -> list[Process]:
    """Returns the living processes of an instance's runs, less those left on purpose."""
    return _tree(
        [
            found.process
            for found in run_mark.marked_processes(instance)
            if not run_mark.left_on_purpose(found.mark, running)
        ]
    )
