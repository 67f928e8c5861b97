"""Forks the dispatcher and the workers. Only here is `os.fork` called in a running service."""

import errno
import os
import signal
import socket
from collections.abc import Callable
from typing import Protocol

from queued.core.errors import Exit
from queued.core.settings import Settings, Value
from queued.service.ipc import channel
from queued.service.linux import descriptors, pdeathsig
from queued.service.linux.cgroup import RunCgroups
from queued.service.log import Log

Closable = channel.Channel | socket.socket
_RESERVED = 32  # descriptors that the dispatcher needs besides one for each worker


class Programs(Protocol):
    """What the children run, and the settings that they start with."""

    settings: Settings
    cgroups: RunCgroups | None

    def log(self, role: str) -> Log:
        """Returns the log of the process with this role."""
        ...

    def apply(self, settings: Settings, file: dict[str, Value]) -> None:
        """Has children to come start with these settings, and this process log by them."""
        ...

    def run_dispatcher(self, supervisor: socket.socket) -> int:
        """Runs a dispatcher; returns its exit code."""
        ...

    def run_worker(self, number: int, dispatcher: socket.socket, lifeline: int) -> int:
        """Runs a worker; returns its exit code."""
        ...


class Forker:
    """Holds what children inherit: their sockets, and a pipe that closes when the supervisor dies.

    Of each worker's socket pair the supervisor keeps the dispatcher's end, so that it can be
    passed to the next dispatcher, too.
    """

    def __init__(self, programs: Programs) -> None:
        self.cgroups = programs.cgroups
        self._programs = programs
        self._worker_sockets: dict[int, socket.socket] = {}
        self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._files_limit = descriptors.raise_limit()

    def dispatcher(self) -> tuple[int, channel.Channel]:
        """Forks a dispatcher; returns its pid and the channel to it. Raises OSError."""
        ours, theirs = channel.pair()
        with theirs:
            pid = self._fork(
                lambda: self._programs.run_dispatcher(theirs),
                close=[ours, *self._worker_sockets.values()],
            )
        return pid, channel.Channel(ours)

    def worker(self, slot: int, dispatcher: channel.Channel | None) -> int:
        """Forks a worker, which has no use for the channel to the dispatcher; returns its pid.

        Raises OSError, also while the dispatcher could not have a descriptor for the worker.
        """
        ours, theirs = channel.pair()
        inherited: list[Closable] = [ours, *self._worker_sockets.values()]
        if dispatcher is not None:
            inherited.append(dispatcher)
        with theirs:
            try:
                _check_room(ours)
                pid = self._fork(lambda: self._run_worker(slot, theirs), close=inherited)
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
        """Closes the dispatcher's end of the worker in this slot, which is dead."""
        if (ours := self._worker_sockets.pop(slot, None)) is not None:
            ours.close()

    def disconnect_all(self) -> None:
        """Closes all of them: without a dispatcher, workers see that none will come."""
        for slot in list(self._worker_sockets):
            self.disconnect(slot)

    def _fork(self, run: Callable[[], int], close: list[Closable]) -> int:
        """Forks a child that closes what is not its own and exits with what `run` returns.

        Signals are blocked until the child has handlers of its own, so that none is lost.
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
            pdeathsig.go_on_without_parent()
            os.close(self._lifeline[1])  # while the supervisor holds it, children are not orphaned
            for own in close:
                own.close()
            code = run()
        except BaseException:  # noqa: BLE001 - the outermost: what it was is in the log
            self._programs.log("child").exception("process.failed")
        finally:
            os._exit(code)


def _check_room(sock: socket.socket) -> None:
    """Raises OSError if the dispatcher, which has the same limit, has no room for the socket."""
    if sock.fileno() >= descriptors.limit() - _RESERVED:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
