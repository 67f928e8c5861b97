"""Forks the dispatcher and the workers. A running service forks nowhere else."""

import errno
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from queued.core.errors import Exit
from queued.core.serve_until import ServeUntil
from queued.core.settings import Value
from queued.core.settings_in_force import Settings
from queued.service.ipc import channel
from queued.service.linux import descriptors, pdeathsig, process_name
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.limits import Limits
from queued.service.log import Log

Closable = channel.Channel | socket.socket
_RESERVED = 32  # descriptors that the dispatcher needs besides one for each worker


class Programs(Protocol):
    """The programs of the children, and the settings with which they start."""

    settings: Settings
    cgroups: RunCgroups | None
    until: ServeUntil
    warded: bool  # whether the instance has a warden

    def log(self, role: str) -> Log:
        """Returns the log of the process with this role."""
        ...

    def apply(self, settings: Settings, file: dict[str, Value]) -> None:
        """Starts later children with these settings, and applies them to this process's log."""
        ...

    def run_dispatcher(self, supervisor: socket.socket) -> int:
        """Runs a dispatcher; returns its exit code."""
        ...

    def run_worker(self, number: int, dispatcher: socket.socket, lifeline: int) -> int:
        """Runs a worker; returns its exit code."""
        ...

    def run_warden(self, presence: int) -> int:
        """Runs a warden; returns its exit code."""
        ...


class ForkedDispatcher(NamedTuple):
    """A new dispatcher, and the channel to it."""

    pid: int
    channel: channel.Channel


class Forker:
    """Holds the descriptors that children inherit.

    These are one socket pair for each worker, of which the supervisor keeps the dispatcher's end
    so that the next dispatcher can have it, and a pipe that closes when the supervisor dies.
    """

    def __init__(self, programs: Programs) -> None:
        self.cgroups = programs.cgroups
        self._programs = programs
        self._worker_sockets: dict[int, socket.socket] = {}
        self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._presence = os.pipe2(os.O_CLOEXEC)  # closes when this process and all workers die
        self._files_limit = descriptors.raise_limit()
        self.limits = Limits()

    def dispatcher(self) -> ForkedDispatcher:
        """Forks a dispatcher. Raises OSError."""
        ours, theirs = channel.pair()
        with theirs:
            pid = self._fork(
                "queued:dispatch",
                lambda: self._run_dispatcher(theirs),
                close=[ours, *self._worker_sockets.values()],
            )
        return ForkedDispatcher(pid, channel.Channel(ours))

    def _run_dispatcher(self, supervisor: socket.socket) -> int:
        os.close(self._presence[1])
        return self._programs.run_dispatcher(supervisor)

    def warden(self, dispatcher: channel.Channel | None) -> int:
        """Forks a warden and returns its pid. Raises OSError."""
        inherited: list[Closable] = [*self._worker_sockets.values()]
        if dispatcher is not None:
            inherited.append(dispatcher)
        return self._fork("queued:warden", self._run_warden, close=inherited)

    def _run_warden(self) -> int:
        os.close(self._presence[1])
        return self._programs.run_warden(self._presence[0])

    def worker(self, slot: int, dispatcher: channel.Channel | None) -> int:
        """Forks a worker and returns its pid. The worker closes the channel to the dispatcher.

        Raises OSError, also if the dispatcher has no descriptor left for the worker.
        """
        ours, theirs = channel.pair()
        inherited: list[Closable] = [ours, *self._worker_sockets.values()]
        if dispatcher is not None:
            inherited.append(dispatcher)
        with theirs:
            try:
                _check_room(ours)
                run = partial(self._run_worker, slot, theirs)
                pid = self._fork(f"queued:w{slot}", run, close=inherited)
            except BaseException:
                ours.close()
                raise
        self._worker_sockets[slot] = ours
        return pid

    def _run_worker(self, slot: int, dispatcher: socket.socket) -> int:
        descriptors.set_limit(self._files_limit)  # commands inherit it
        return self._programs.run_worker(slot, dispatcher, self._lifeline[0])

    def worker_socket(self, slot: int) -> socket.socket:
        """Returns the dispatcher's end of the connection to the worker in this slot."""
        return self._worker_sockets[slot]

    def disconnect(self, slot: int) -> None:
        """Closes the connection to the worker in this slot, which is dead; safe to call twice."""
        if (ours := self._worker_sockets.pop(slot, None)) is not None:
            ours.close()

    def disconnect_all(self) -> None:
        """Closes all connections, so that workers see that no dispatcher will come."""
        for slot in list(self._worker_sockets):
            self.disconnect(slot)

    def _fork(self, name: str, run: Callable[[], int], close: list[Closable]) -> int:
        """Forks a child that closes `close`, runs `run` and exits with the code that it returns.

        Signals stay blocked until the child has its own handlers, so that none is lost.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            raise
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return pid
        code = int(Exit.INTERNAL)
        try:
            signal.set_wakeup_fd(-1)
            process_name.set_name(name)
            pdeathsig.wake_when_orphaned()
            os.close(self._lifeline[1])  # only the supervisor keeps it open
            for inherited in close:
                inherited.close()
            self.limits.restore()  # another process may have lowered them just before the fork
            code = int(Exit.IO) if self.limits.lowered() else run()
        except BaseException:  # noqa: BLE001 - the outermost handler of the child: logged
            self._programs.log("child").exception("process.failed")
        finally:
            os._exit(code)


def _check_room(sock: socket.socket) -> None:
    """Raises OSError if the dispatcher, which has the same limit, has no room for the socket."""
    if sock.fileno() >= descriptors.limit() - _RESERVED:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
