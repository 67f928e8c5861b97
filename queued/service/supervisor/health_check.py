"""Pings the children, kills those that hang, and continues those that were stopped."""

import os
import signal
from collections.abc import Iterable

from queued.core import times
from queued.service.linux import procfs
from queued.service.log import Log
from queued.service.supervisor.children import Child, Children
from queued.service.supervisor.watchdog import Watchdog


class HealthCheck:
    """The signals to the children of the table.

    Only this process collects them, so that their pids cannot be reused before.
    """

    def __init__(self, table: Children, watchdog: Watchdog) -> None:
        self.killed: set[int] = set()  # pids of children, until they are collected
        self._table = table
        self._watchdog = watchdog
        self._continued: set[int] = set()  # pids of children that have been stopped

    def check(self, log: Log, *, jobs_run: bool) -> bool:
        """Makes the check that is due, if any; returns whether all have answered the last pings.

        A child that the kernel does not let die does not count, and the others go on. What a worker
        hangs for may be a process of its run, so all of these are killed, too.
        """
        now_s = times.monotonic_s()
        self._watchdog.watch(now_s, jobs_run=jobs_run)
        if not self._watchdog.due(now_s):
            return False
        children = [child for child in self._table.living() if child.pid not in self.killed]
        finding = self._watchdog.check(children, now_s)
        for child in finding.hung:
            log.error("child.hung", **child.log_fields, action="killed")
        self.kill(finding.hung)
        if workers := [child.pid for child in finding.hung if child.is_worker]:
            for process in procfs.descendants(*workers):
                procfs.send_signal(process, signal.SIGKILL)
        send(finding.to_ping, signal.SIGUSR1)
        return finding.healthy

    @property
    def next_s(self) -> float | None:
        """When the next check is due; None if none is."""
        return self._watchdog.next_s

    def kill(self, children: Iterable[Child]) -> None:
        """Kills these children."""
        for child in children:
            self.killed.add(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    def undead(self) -> list[Child]:
        """Returns the children that were killed and have not been collected."""
        return [child for child in self._table.living() if child.pid in self.killed]

    def dead_for_a_tracer(self) -> list[int]:
        """Returns killed children that are dead, but must be collected by their debugger first."""
        found = [procfs.read_process(pid) for pid in self.killed]
        return [one.pid for one in found if one is not None and one.dead]

    def continue_stopped(self, log: Log) -> None:
        """Continues stopped children: a command could otherwise stop one for ever.

        With a watchdog, a child that hangs is replaced instead, because it may hang again.
        """
        if self._watchdog.configured:
            return
        living = {child.pid: child for child in self._table.living()}
        self._continued &= living.keys()
        while (pid := procfs.stopped_child()) is not None:
            if pid not in living:
                continue
            os.kill(pid, signal.SIGCONT)
            if pid not in self._continued:
                self._continued.add(pid)
                log.warning("child.continued", **living[pid].log_fields)


def send(children: Iterable[Child], number: signal.Signals) -> None:
    """Sends the signal to these children."""
    for child in children:
        os.kill(child.pid, number)
