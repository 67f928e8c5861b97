"""Timers on the wall clock and on the clock since boot, as descriptors (timerfd_create(2))."""

import ctypes
import errno
import os
import time

from queued.core import times
from queued.service.linux import libc

_ABSOLUTE = 1
_CANCEL_ON_SET = 2


def timer_descriptor(clock: int = time.CLOCK_REALTIME) -> int:
    """Returns the descriptor of a new timer on `clock`, which is not set. Raises OSError."""
    flags = os.O_NONBLOCK | os.O_CLOEXEC
    return libc.checked(libc.C.timerfd_create(clock, flags))


def _arm(descriptor: int, flags: int, seconds: int, nanoseconds: int) -> None:
    value = (ctypes.c_long * 4)(0, 0, seconds, nanoseconds)
    libc.checked(libc.C.timerfd_settime(descriptor, flags, value, None))


class WallTimer:
    """Wakes at a wall-clock time, and at once when the clock is set."""

    def __init__(self) -> None:
        self._descriptor = timer_descriptor()
        self._at: int | None = None

    def fileno(self) -> int:
        """Returns the descriptor to wait for."""
        return self._descriptor

    def set(self, at_ms: int | None) -> None:
        """Wakes at this time (milliseconds UTC) instead of any other; None: never."""
        if at_ms == self._at:
            return
        # A time of 0 would stop the timer.
        seconds, milliseconds = divmod(0 if at_ms is None else max(at_ms, 1), 1000)
        _arm(self._descriptor, _ABSOLUTE | _CANCEL_ON_SET, seconds, milliseconds * 1_000_000)
        self._at = at_ms

    def clear(self) -> None:
        """Clears an alarm that has gone off; call `set` for the next."""
        self._at = None
        try:
            os.read(self._descriptor, 8)
        except OSError as error:
            # ECANCELED: the clock was set. The caller reads the clock in any case.
            if error.errno not in (errno.ECANCELED, errno.EAGAIN):
                raise


class BootTimer:
    """Wakes at a time of `times.boot_s`, also if that passed while the machine was suspended."""

    def __init__(self) -> None:
        self._descriptor = timer_descriptor(time.CLOCK_BOOTTIME)

    def fileno(self) -> int:
        """Returns the descriptor to wait for. It stays readable until the timer is set again."""
        return self._descriptor

    def set(self, at_s: float) -> None:
        """Wakes at this time instead of any other; `times.NEVER_S`: never."""
        nanoseconds = 0 if at_s == times.NEVER_S else max(int(at_s * 1e9), 1)
        _arm(self._descriptor, _ABSOLUTE, *divmod(nanoseconds, 1_000_000_000))
