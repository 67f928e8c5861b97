"""What is alive of a dead instance's runs: found by mark, by session and by group, and killed."""

import signal
import time
from collections.abc import Iterable, Mapping

from queued.core import times
from queued.core.model import Claim
from queued.service.ipc.run_notes import CommandSession
from queued.service.linux import procfs
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.procfs import Process, RunName

_KILLING_S = 0.5


def kill_leftovers(
    instance: str, claims: Iterable[Claim], noted: Mapping[int, CommandSession]
) -> tuple[int, list[Process]]:
    """Kills every process that a dead instance's commands left: how many, and what is still alive.

    Those that a finished job left on purpose (`leave_children`) stay. What has become another
    user's, or is stuck in the kernel, is still alive after a while.
    """
    running = {_name(claim) for claim in claims}
    followed = Followed(noted[c.key.token] for c in claims if c.key.token in noted)
    killed = 0
    end_s = times.monotonic_s() + _KILLING_S
    while True:
        sure, perhaps = followed.look()
        ours = {*_marked(instance, running), *sure}
        killed += sum(procfs.send(process, signal.SIGKILL) for process in ours)
        left = [*ours, *(process for process in perhaps if process not in ours)]
        if not left or times.monotonic_s() >= end_s:  # asked last: a look may take longer
            return killed, left
        time.sleep(0.005)  # the kernel takes them down; they are not ours to wait for


def kill_groups(
    cgroups: RunCgroups, instance: str, claims: Iterable[Claim]
) -> tuple[int, list[Process]]:
    """The same for what is still in the control groups of its runs; empty ones are removed."""
    ended = cgroups.end([_name(claim) for claim in claims], instance)
    cgroups.sweep(instance)
    return ended


class Followed:
    """Sessions of runs that may go on.

    A session whose leader was seen is the run's own. Without a leader it may be that of another,
    who had its pid later and is gone, too: it is waited for, and nothing in it is killed.
    """

    def __init__(self, run_notes: Iterable[CommandSession]) -> None:
        self._sessions = {session.leader: session for session in run_notes if session.leader}
        self._seen: set[int] = set()

    def look(self) -> tuple[list[Process], list[Process]]:
        """What lives in them and what descends from that: (their own, perhaps another's)."""
        everyone = procfs.everyone()
        for leader, session in list(self._sessions.items()):
            process = everyone.get(leader)
            if process is not None and session.led_by(process):
                self._seen.add(leader)
            elif process is not None:
                del self._sessions[leader]  # its pid was free, so nothing was in the session
        living = [process for process in everyone.values() if not process.zombie]
        sure = [process for process in living if process.session in self._seen]
        others = self._sessions.keys() - self._seen
        return _tree(sure), _tree([p for p in living if p.session in others])


def _tree(members: list[Process]) -> list[Process]:
    """These and what descends from them. One may descend from another and be there twice."""
    if not members:
        return []
    below = procfs.descendants(*(member.pid for member in members))
    return [*members, *(process for process in below if not process.zombie)]


def _name(claim: Claim) -> RunName:
    return claim.id.encode(), str(claim.key.attempt).encode()


def _marked(instance: str, running: set[RunName]) -> list[Process]:
    return _tree(
        [
            process
            for process, variables in procfs.marked(instance)
            if b"QUEUED_LEAVE_CHILDREN" not in variables or procfs.run_of(variables) in running
        ]
    )
