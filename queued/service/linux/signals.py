"""Signals as events of a loop: handlers only wake it, and child exits come as a descriptor."""

import ctypes
import os
import signal
from collections.abc import Iterable
from types import FrameType

from queued.service.linux import libc

# Ignored by Python for itself; a program that it starts would inherit that.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
_SIGSET = 128  # bytes of a sigset_t
_SIGINFO = 128  # bytes of a signalfd_siginfo


class Signals:
    """Collects signals for a loop: the handlers do next to nothing, a pipe wakes the loop."""

    arrived = False  # whether there is anything to drain

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        """Takes over the process's signal handling, whatever it inherited."""
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _forget_ignored()
        for number in wanted:
            signal.signal(number, self._arrive)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        # Last, so that a signal that was blocked until now, also before the fork, is not lost.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def fileno(self) -> int:
        """For epoll."""
        return self._read

    def drain(self) -> list[int]:
        """Returns the signals that came since the last call, in their order."""
        self.arrived = False
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def _arrive(self, _signal: int, _frame: FrameType | None) -> None:
        self.arrived = True


class ChildExits:
    """SIGCHLD as a descriptor (signalfd(2)), so that no handler runs for a child's death.

    The signal is blocked for that; a command must be started with nothing blocked.
    """

    def __init__(self) -> None:
        """Make it after `Signals`, which unblocks everything."""
        mask = (ctypes.c_ulong * (_SIGSET // ctypes.sizeof(ctypes.c_ulong)))()
        mask[0] = 1 << (signal.SIGCHLD - 1)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        self._descriptor = libc.checked(libc.C.signalfd(-1, mask, flags))

    def fileno(self) -> int:
        """For epoll."""
        return self._descriptor

    def drain(self) -> bool:
        """Returns whether a child has died since the last call; reap after it."""
        try:
            return bool(os.read(self._descriptor, _SIGINFO))
        except BlockingIOError:
            return False


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    """A handler, not SIG_IGN: an ignored signal would stay ignored in the commands."""


def _forget_ignored() -> None:
    """Has signals do nothing that were ignored, or handled by the process before the fork."""
    keep = {*_IGNORED, signal.SIGKILL, signal.SIGSTOP}
    for number in signal.valid_signals() - keep:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, _nothing)
