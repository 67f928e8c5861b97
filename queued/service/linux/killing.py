"""The one way to kill what is left of runs: find, KILL, find again, until nothing is left.

Every caller says how it finds. The search is repeated because a process may fork another one just
before it is killed, and because the kernel needs a moment to take a process down.
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
    """What a search has found alive."""

    own: Sequence[Process]  # to be killed
    ambiguous: Sequence[Process] = ()  # perhaps another program's: waited for, never signalled
    unseen: bool = False  # something is alive that /proc does not show


class Killed(NamedTuple):
    """What a kill has come to."""

    signalled: int  # how many processes were sent KILL
    left: list[Process]  # what is alive all the same: another user's, or held by the kernel
    unseen: bool  # the last search says that something is alive that /proc does not show

    @property
    def complete(self) -> bool:
        """Whether nothing is alive any more."""
        return not self.left and not self.unseen


def kill_until_gone(find: Callable[[], Found], within_s: float) -> Killed:
    """Kills what `find` returns until it returns nothing; gives up after `within_s`.

    It gives up at once when all that is left may not be signalled by this process.
    """
    end_s = times.monotonic_s() + within_s
    wait_s = _FIRST_WAIT_S
    killed: set[tuple[int, int]] = set()
    while True:
        found = find()
        sent = [process for process in found.own if procfs.send(process, signal.SIGKILL)]
        killed |= {(process.pid, process.started) for process in sent}
        left = [p for p in (*found.own, *found.ambiguous) if procfs.is_alive(p)]
        waiting = bool(sent or found.ambiguous or found.unseen)
        if not (found.own or waiting):
            return Killed(len(killed), [], unseen=False)
        # The clock is read after the search, which may take longer than `within_s`.
        if times.monotonic_s() >= end_s or (left and not waiting):
            return Killed(len(killed), left, found.unseen)
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
