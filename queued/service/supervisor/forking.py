"""Forks the dispatcher and the workers. Only here is `os.fork` called in a running service."""

import os
import signal
import socket
from collections.abc import Callable
from typing import Protocol

from queued.core.errors import Exit
from queued.core.settings import Settings
from queued.service.ipc import channel
from queued.service.linux.cgroup import Groups
from queued.service.log import Log

Closable = channel.Channel | socket.socket


class Programs(Protocol):
    """What the children run, and the settings that they start with."""

    settings: Settings
    groups: Groups | None

    def log(self, role: str) -> Log:
        """A log for the process, with the settings of now."""
        ...

    def run_dispatcher(self, supervisor: socket.socket, listener: socket.socket) -> int:
        """The dispatcher's life; its exit code."""
        ...

    def run_worker(self, number: int, address: bytes, lifeline: int) -> int:
        """A worker's life; its exit code."""
        ...

    def reload(self) -> None:
        """Reads the conf file again. Raises QueuedError, and then nothing has changed."""
        ...


class Nursery:
    """Has what children inherit: the listener, and a pipe that closes when the supervisor dies."""

    def __init__(self, programs: Programs) -> None:
        self.groups = programs.groups
        self._programs = programs
        self._listener = channel.listen()
        self._lifeline = os.pipe2(os.O_CLOEXEC)

    def dispatcher(self) -> tuple[int, channel.Channel]:
        """Forks a dispatcher; its pid and the channel to it. Raises OSError."""
        ours, theirs = channel.pair()
        with theirs:
            pid = self._fork(
                lambda: self._programs.run_dispatcher(theirs, self._listener), close=[ours]
            )
        return pid, channel.Channel(ours)

    def worker(self, slot: int, dispatcher: channel.Channel | None) -> int:
        """Forks a worker, which has no use for the channel to the dispatcher; its pid."""
        address = self._listener.getsockname()
        return self._fork(
            lambda: self._programs.run_worker(slot, address, self._lifeline[0]),
            close=[self._listener, *([dispatcher] if dispatcher else [])],
        )

    def close(self) -> None:
        """From now on nobody can connect, and who waits for that is refused."""
        self._listener.close()

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
            os.close(self._lifeline[1])  # while the supervisor holds it, children are not orphaned
            for own in close:
                own.close()
            code = run()
        except BaseException:  # noqa: BLE001 - the outermost: what it was is in the log
            self._programs.log("child").exception("process.failed")
        finally:
            os._exit(code)
