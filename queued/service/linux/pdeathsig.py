"""What the kernel does to a process whose parent dies (PR_SET_PDEATHSIG of prctl(2))."""

import os
import signal
from collections.abc import Mapping

from queued.service.linux import libc

_PR_SET_PDEATHSIG = 1


def go_on_without_parent() -> None:
    """Has the kernel send CONT when the parent is gone, so that a stopped child notices and ends.

    A child that stayed stopped would hold the lock of its dead instance.
    """
    libc.C.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def die_with_supervisord(environment: Mapping[str, str]) -> None:
    """Has the kernel send TERM when the supervisord that started this process is gone.

    The service drains then, because nothing else would stop it. systemd needs no such thing, and a
    terminal or a detached service must not have it.
    """
    if "SUPERVISOR_ENABLED" not in environment:
        return
    before = os.getppid()
    libc.C.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != before:  # it died just now
        signal.raise_signal(signal.SIGTERM)
