"""Kills leftover processes: find, KILL, find again, until none is left.

The caller passes the search as a function. It is repeated because a process may fork just before it
is killed, and because the kernel needs some time to end a process.
"""

import contextlib
import os
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
    """The living processes that a search has found."""

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


def kill_until_gone(
    find: Callable[[], Found], within_s: float, kill_others: Callable[[], bool] = lambda: True
) -> Killed:
    """Kills the processes that `find` returns, until it returns none.

    After each search it calls `kill_others`, which kills processes that a search finds too late,
    and returns whether no new ones come. Gives up after a search that began `within_s` after the
    first one, or at once if this process may signal none of those that are left.
    """
    found = find()
    end_s = times.monotonic_s() + within_s
    last = False  # not the first one, because thousands of processes need time to end
    wait_s = _FIRST_WAIT_S
    killed: set[tuple[int, int]] = set()
    while True:
        sent = [process for process in found.own if procfs.send_signal(process, signal.SIGKILL)]
        killed |= {(process.pid, process.started) for process in sent}
        settled = kill_others()
        left = [p for p in (*found.own, *found.ambiguous) if procfs.is_alive(p)]
        waiting = bool(sent or found.ambiguous or found.unseen or not settled)
        if not (found.own or waiting):
            return Killed(len(killed), [], unseen=False)
        if last or (left and not waiting):
            # A process that forks and exits in a loop is gone now, and lives on under another pid.
            now = found if left else find()
            unseen = now.unseen or not settled or (not left and any(now[:2]))
            return Killed(len(killed), left, unseen)
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        last = times.monotonic_s() >= end_s
        found = find()


def kill_children(
    is_doomed: Callable[[int], bool], collect: Callable[[], object], within_s: float
) -> bool:
    """Kills children of this process by their pids, and collects them, until no new ones come.

    Returns False after `within_s`, else True: KILL does not end the children that are left.

    A process that forks and exits in a loop has another pid before a search of /proc comes to it.
    But as an orphan it is a child of this process, whose children are listed at once, the newest
    last. No code but `collect` collects children, so that no pid is reused meanwhile.
    """
    end_s = times.monotonic_s() + within_s
    before: list[int] | None = None
    while True:
        collect()  # first, because the list has dead children, too
        doomed: list[int] = []
        for pid in filter(is_doomed, reversed(procfs.own_children())):
            with contextlib.suppress(PermissionError):
                os.kill(pid, signal.SIGKILL)
            doomed.append(pid)
        if not doomed or doomed == before:
            return True
        if times.monotonic_s() >= end_s:
            return False
        before = doomed
