"""Starts our programs with a fault of the system, or a defect of their own.

    python -m tests.crash.fault_injection NAME[=ARGUMENT]... queued|queuectl ARGUMENT...

Faults of the system are here, defects of the programs in `mutants`. The product has no code for
either.
"""

import atexit
import errno
import fcntl
import itertools
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import apsw

from queued.core import times
from queued.core.errors import StorageError
from queued.service.dispatcher.clock_shift import ClockShift
from queued.service.linux import timers
from queued.service.worker.worker import Worker
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.crash.faulty_vfs import Fault, FaultyVfs
from tests.crash.kill_points import POINTS, arm, run, stop_service
from tests.crash.mutants import DEFECTS, put


def _install(fault: Fault) -> None:
    disk = FaultyVfs()
    disk.fault = fault
    put(disk, "record_event", lambda _event: None)
    atexit.register(disk.unregister)  # also keeps a reference to it


def full(control: str) -> None:
    """The disk is full while the file exists."""

    def fault(kind: str, _name: str) -> Exception | None:
        return apsw.FullError() if kind == "write" and os.path.exists(control) else None

    _install(fault)


def sometimes(share: str) -> None:
    """`share` of a thousand writes and syncs of the WAL fail, always in the same order."""
    calls = itertools.count(1)

    def fault(kind: str, name: str) -> Exception | None:
        if kind not in ("write", "sync") or not name.endswith("-wal"):
            return None
        return apsw.FullError() if next(calls) * 7919 % 1000 < int(share) else None

    _install(fault)


def log_to(path: str) -> None:
    """Standard output and error are this FIFO, which holds no more than a page."""
    fifo = os.open(path, os.O_WRONLY)
    fcntl.fcntl(fifo, fcntl.F_SETPIPE_SZ, 4096)
    for descriptor in (1, 2):
        os.dup2(fifo, descriptor)
    os.close(fifo)


def no_process(count: str) -> None:
    """The first `count` starts of commands fail in the worker."""
    left = itertools.count(int(count), -1)
    plain = os.posix_spawn

    def refuse(*words: Any, **named: Any) -> int:
        if next(left) > 0:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return plain(*words, **named)

    put(os, "posix_spawn", refuse)


def no_fork(count: str) -> None:
    """The first `count` forks of the supervisor fail."""
    left = itertools.count(int(count), -1)
    plain = os.fork

    def refuse() -> int:
        if next(left) > 0:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return plain()

    put(os, "fork", refuse)


def clock(path: str) -> None:
    """The wall clock is off by the number of milliseconds in the file."""
    plain, plain_set = times.now_ms, timers.WallTimer.set

    def offset_ms() -> int:
        with open(path, encoding="ascii") as file:
            return int(file.read() or 0)

    def alarm(self: timers.WallTimer, at_ms: int | None) -> None:
        plain_set(self, None if at_ms is None else at_ms - offset_ms())

    put(times, "now_ms", lambda: plain() + offset_ms())
    put(timers.WallTimer, "set", alarm)


def restless_alarms(_: str) -> None:
    """An alarm goes off every 0.1 s, as it does whenever the wall clock is set."""
    plain_set = timers.WallTimer.set

    def alarm(self: timers.WallTimer, at_ms: int | None) -> None:
        plain_set(self, None if at_ms is None else min(at_ms, times.now_ms() + 100))

    put(timers.WallTimer, "set", alarm)


def slow_clock(share: str) -> None:
    """The clock since boot, by which leases go, has this share of its speed from now on."""
    plain, begun_s = times.boot_s, times.boot_s()
    put(times, "boot_s", lambda: begun_s + (plain() - begun_s) * float(share))


def _refuse_first(owner: type, name: str) -> None:
    """The commit fails of the turn in which the method first returns something."""
    plain = getattr(owner, name)
    refusals = itertools.count()

    def refuse(*arguments: Any) -> Any:
        found = plain(*arguments)
        if found and next(refusals) == 0:
            msg = "no room"
            raise StorageError(msg)
        return found

    put(owner, name, refuse)


def refused_cancel(_argument: str) -> None:
    """The commit fails of the turn that first reads a cancel request."""
    _refuse_first(SqliteLedger, "cancel_requests")


def refused_shift(_argument: str) -> None:
    """The commit fails of the turn that first moves retries along with the clock."""
    _refuse_first(ClockShift, "shift_if_set")


def constant(assignment: str) -> None:
    """`MODULE.NAME=NUMBER`: a constant of the product has another value."""
    path, number = assignment.split("=")
    module, _, name = path.rpartition(".")
    owner = import_module(module)
    put(owner, name, type(getattr(owner, name))(number))


def kill_point(argument: str) -> None:
    """`POINT|VICTIM|MARK`: see the module `kill_points`."""
    point, victim, mark = argument.split("|")
    arm(POINTS[point], victim, mark)


def stop_before_run(argument: str) -> None:
    """`MARK|read` or `MARK|unread`: a stop arrives before a run in the worker's socket."""
    mark, then = argument.split("|")
    plain = Worker._receive

    def receive(self: Worker) -> None:
        if self._execution is None and not os.path.exists(mark):
            os.close(os.open(mark, os.O_CREAT))
            stop_service()
            self._handle_signals()
            if then == "unread":
                return
        plain(self)

    put(Worker, "_receive", receive)


ALTERATIONS: dict[str, Callable[[str], None]] = DEFECTS | {
    alteration.__name__: alteration
    for alteration in (
        full, sometimes, log_to, no_process, no_fork, clock, restless_alarms, slow_clock,
        refused_cancel, refused_shift, constant, kill_point, stop_before_run,
    )
}  # fmt: skip


def main() -> None:
    """See the module."""
    words = sys.argv[1:]
    while words[0] not in ("queued", "queuectl"):
        name, _, argument = words.pop(0).partition("=")
        ALTERATIONS[name](argument)
    run(words[0], words[1:])


if __name__ == "__main__":
    main()
