"""A timer on the wall clock, as a descriptor (timerfd_create(2))."""

import ctypes
import errno
import os

from queued.service.linux import libc

_ABSOLUTE_CANCEL_ON_SET = 3
_CLOCK_REALTIME = 0


def timer_descriptor() -> int:
    """Returns a timer on the wall clock that is not set. Raises OSError."""
    flags = os.O_NONBLOCK | os.O_CLOEXEC
    return libc.checked(libc.C.timerfd_create(_CLOCK_REALTIME, flags))


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
        seconds, milliseconds = divmod(max(at_ms or 0, 1 if at_ms is not None else 0), 1000)
        value = (ctypes.c_long * 4)(0, 0, seconds, milliseconds * 1_000_000)
        libc.checked(libc.C.timerfd_settime(self._descriptor, _ABSOLUTE_CANCEL_ON_SET, value, None))
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
