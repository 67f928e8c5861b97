"""What a process of the service sleeps on: descriptors, signals, and the wall clock."""

import ctypes
import errno
import os
import select
import signal
from collections.abc import Callable, Iterable
from types import FrameType

# By Python, for itself; a program that we start would inherit it.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

_libc = ctypes.CDLL(None, use_errno=True)
_SIGSET = 128  # bytes of a sigset_t
_SIGINFO = 128  # and of a signalfd_siginfo
_DEATH = (signal.SIGCHLD,)
_LONGEST_S = 86_400.0  # poll counts milliseconds in an int, which is 24 days


class Wake:
    """Sleeps until a descriptor is ready, then calls what was registered for it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._urgent = select.epoll()
        self._urgently: set[int] = set()
        self._calls: dict[int, Callable[[], None]] = {}
        self._masks: dict[int, int] = {}

    def add(self, descriptor: int, call: Callable[[], None], *, urgent: bool = False) -> None:
        """Calls `call` whenever the descriptor can be read or has hung up."""
        self._epoll.register(descriptor, select.EPOLLIN)
        if urgent:
            self._urgent.register(descriptor, select.EPOLLIN)
            self._urgently.add(descriptor)
        self._calls[descriptor] = call
        self._masks[descriptor] = select.EPOLLIN

    def writable(self, descriptor: int, *, wanted: bool) -> None:
        """Also wakes when the descriptor can be written, while that is wanted."""
        mask = select.EPOLLIN | select.EPOLLOUT if wanted else select.EPOLLIN
        if self._masks.get(descriptor, mask) != mask:
            self._epoll.modify(descriptor, mask)
            self._masks[descriptor] = mask

    def remove(self, descriptor: int) -> None:
        """Forgets the descriptor; call it before closing."""
        if self._calls.pop(descriptor, None) is not None:
            del self._masks[descriptor]
            self._epoll.unregister(descriptor)
            if descriptor in self._urgently:
                self._urgently.remove(descriptor)
                self._urgent.unregister(descriptor)

    def watches(self, descriptor: int) -> bool:
        """Whether the descriptor was added."""
        return descriptor in self._calls

    def wait(self, timeout_s: float | None) -> None:
        """One sleep, at most `timeout_s` (None: for ever), and the calls that it leads to."""
        self._sleep(self._epoll, timeout_s)

    def nap(self, seconds: float) -> bool:
        """Sleeps so long, or until something urgent comes, then hears all that has come meanwhile.

        False, at once, if it is no time at all.
        """
        if seconds > 0:
            self._sleep(self._urgent, seconds)
            self._sleep(self._epoll, 0)
        return seconds > 0

    def _sleep(self, epoll: select.epoll, timeout_s: float | None) -> None:
        if timeout_s is not None:
            timeout_s = min(timeout_s, _LONGEST_S)
        for descriptor, _ in epoll.poll(timeout_s):
            call = self._calls.get(descriptor)
            if call is not None:
                call()


class Signals:
    """Collects signals for a loop: the handlers do next to nothing, a pipe wakes the sleeper."""

    arrived = False  # whether there is anything to take

    def __init__(self, wanted: Iterable[signal.Signals]) -> None:
        """Takes over the process's signal handling, whatever it inherited."""
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _forget_ignored()
        for number in wanted:
            signal.signal(number, self._arrive)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        # Last: what was blocked until now (by whoever forked us, too) is not lost.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def fileno(self) -> int:
        """For epoll."""
        return self._read

    def take(self) -> list[int]:
        """The signals that came since the last call, in their order."""
        self.arrived = False
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def _arrive(self, _signal: int, _frame: FrameType | None) -> None:
        self.arrived = True


class Deaths:
    """SIGCHLD as a descriptor (signalfd(2)): for each child's death no handler need run.

    While it is blocked; a command must be started with nothing blocked.
    """

    def __init__(self) -> None:
        """After `Signals`, which hears of it meanwhile, and whenever it is let through."""
        mask = (ctypes.c_ulong * (_SIGSET // ctypes.sizeof(ctypes.c_ulong)))()
        mask[0] = 1 << (signal.SIGCHLD - 1)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        self._descriptor = _checked(_libc.signalfd(-1, mask, flags))

    def fileno(self) -> int:
        """For epoll."""
        return self._descriptor

    def take(self) -> bool:
        """Whether there was one since the last call; reap after it."""
        try:
            return bool(os.read(self._descriptor, _SIGINFO))
        except BlockingIOError:
            return False

    def wait(self, timeout_s: float) -> bool:
        """Sleeps until there is one, or for so long; nothing else ends it. Reap if it is true."""
        return signal.sigtimedwait(_DEATH, timeout_s) is not None


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    """A handler, not SIG_IGN: an ignored signal would stay ignored in the commands we start."""


def _forget_ignored() -> None:
    """Signals that our parent had us ignore, or our own parent process handled: do nothing."""
    keep = {*_IGNORED, signal.SIGKILL, signal.SIGSTOP}
    for number in signal.valid_signals() - keep:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, _nothing)


class WallAlarm:
    """Wakes at a wall-clock time, and at once when somebody sets the clock (timerfd_create(2))."""

    _ABSOLUTE_CANCEL_ON_SET = 3
    _NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
    _CLOCK_REALTIME = 0

    def __init__(self) -> None:
        self._descriptor = _checked(
            _libc.timerfd_create(self._CLOCK_REALTIME, self._NONBLOCK_CLOEXEC)
        )
        self._at: int | None = None

    def fileno(self) -> int:
        """For epoll."""
        return self._descriptor

    def set(self, at_ms: int | None) -> None:
        """Wakes at this time (milliseconds UTC) instead of any other; None: never."""
        if at_ms == self._at:
            return
        seconds, milliseconds = divmod(max(at_ms or 0, 1 if at_ms is not None else 0), 1000)
        value = (ctypes.c_long * 4)(0, 0, seconds, milliseconds * 1_000_000)
        _checked(_libc.timerfd_settime(self._descriptor, self._ABSOLUTE_CANCEL_ON_SET, value, None))
        self._at = at_ms

    def take(self) -> None:
        """Ends the alarm that woke us; `set` it again for another."""
        self._at = None
        try:
            os.read(self._descriptor, 8)
        except OSError as error:
            # ECANCELED: the clock was set. The sleeper looks at the clock again in any case.
            if error.errno not in (errno.ECANCELED, errno.EAGAIN):
                raise


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
