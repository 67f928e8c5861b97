"""Kills leftover processes: find, KILL, find again, until none is left.

The caller passes the search as a function. It is repeated because a process may fork just before it
is killed, and because the kernel needs some time to end a process.
"""

import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from queued.core import times
from queued.service.linux import procfs
from queued.service.linux.procfs import Process

_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.02


class Found(NamedTuple):
    """What a search has found to be alive."""

    own: Sequence[Process]  # to be killed
    ambiguous: Sequence[Process] = ()  # may be another program's: waited for, never signalled
    unseen: bool = False  # a process is alive that /proc may not show


class Killed(NamedTuple):
    """The result of a kill."""

    signalled: int  # the number of processes that were sent KILL
    left: list[Process]  # still alive: owned by another user, or in a system call that hangs
    unseen: bool  # as the last search has found

    @property
    def complete(self) -> bool:
        """Whether no process is alive any more."""
        return not self.left and not self.unseen


def kill_until_gone(find: Callable[[], Found], within_s: float) -> Killed:
    """Kills what `find` returns, until it returns nothing.

    Gives up `within_s` after the first search, or at once if this process may signal none of those
    that are left.
    """
    found = find()
    end_s = times.monotonic_s() + within_s
    wait_s = _FIRST_WAIT_S
    killed: set[tuple[int, int]] = set()
    while True:
        sent = [process for process in found.own if procfs.send_signal(process, signal.SIGKILL)]
        killed |= {(process.pid, process.started) for process in sent}
        left = [p for p in (*found.own, *found.ambiguous) if procfs.is_alive(p)]
        waiting = bool(sent or found.ambiguous or found.unseen)
        if not (found.own or waiting):
            return Killed(len(killed), [], unseen=False)
        if times.monotonic_s() >= end_s or (left and not waiting):
            return Killed(len(killed), left, found.unseen)
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        found = find()
