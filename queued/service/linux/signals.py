"""Signals as events of a loop: handlers only wake it, and child exits come as a descriptor."""

import ctypes
import os
import signal
from collections.abc import Iterable
from types import FrameType

from queued.service.linux import libc

# Python ignores these for itself. Started programs inherit that unless spawn resets it.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
# They end a process by default, and mean nothing here.
_STRAY = {
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPWR,
    signal.SIGSTKFLT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
}
_SIGSET = 128  # bytes of a sigset_t
_SIGINFO = 128  # bytes of a signalfd_siginfo


class Signals:
    """Collects signals for an event loop, which a pipe wakes."""

    arrived = False  # whether there is anything to drain

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        """Replaces the signal handling that the process has inherited."""
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _ignore_others()
        for number in wanted:
            signal.signal(number, self._arrive)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        # Last, so that a signal that came while it was blocked, also before the fork, is not lost.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def fileno(self) -> int:
        """Returns the descriptor to wait for."""
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
    """SIGCHLD as a descriptor (signalfd(2)), so that no signal handler runs when a child ends.

    The signal must be blocked for that. So a command must be started with its signals unblocked.
    """

    def __init__(self) -> None:
        """Blocks SIGCHLD; create it after `Signals`, which unblocks all signals."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        self._descriptor = child_exits_descriptor()

    def fileno(self) -> int:
        """Returns the descriptor to wait for."""
        return self._descriptor

    def wait(self, timeout_s: float) -> bool:
        """Sleeps until a child ends, at most that long; returns whether one has. Reap after it."""
        return signal.sigtimedwait([signal.SIGCHLD], timeout_s) is not None

    def drain(self) -> bool:
        """Returns whether a child has ended since the last call; reap after it, not before."""
        try:
            return bool(os.read(self._descriptor, _SIGINFO))
        except BlockingIOError:
            return False


def child_exits_descriptor() -> int:
    """Returns a descriptor that is readable after a (blocked) SIGCHLD. Raises OSError."""
    mask = (ctypes.c_ulong * (_SIGSET // ctypes.sizeof(ctypes.c_ulong)))()
    mask[0] = 1 << (signal.SIGCHLD - 1)
    return libc.checked(libc.C.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC))


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    """A handler, not SIG_IGN: an ignored signal would stay ignored in the commands."""


def _ignore_others() -> None:
    """Replaces inherited handlers, SIG_IGN and an end by default by a handler that does nothing."""
    keep = {*_IGNORED, signal.SIGKILL, signal.SIGSTOP}
    for number in signal.valid_signals() - keep:
        if number in _STRAY or signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, _nothing)
