"""Delays Ctrl+Z while this process has the database locked, because all others wait for it then."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache


def delayed_stops() -> AbstractContextManager[None]:
    """Delays the signals by which a terminal stops a process; they act at the end."""
    return _delayed() if _has_terminal() else nullcontext()


@cache
def _has_terminal() -> bool:
    """Returns whether there is a terminal that may stop this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextmanager
def _delayed() -> Iterator[None]:
    import signal  # half a millisecond of queuectl's start, not needed without a terminal

    stops = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
