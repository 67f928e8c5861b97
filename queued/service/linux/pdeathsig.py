"""Signals from the kernel at the death of a parent process (PR_SET_PDEATHSIG of prctl(2))."""

import os
import signal
from collections.abc import Mapping

from queued.service.linux import libc

_PR_SET_PDEATHSIG = 1


def wake_when_orphaned() -> None:
    """Has the kernel send CONT when the parent dies, so that a stopped child goes on and exits.

    A child that stays stopped would hold the lock of its dead instance.
    """
    libc.C.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def die_with_supervisord(environment: Mapping[str, str]) -> None:
    """Has the kernel send TERM when the supervisord that started this process dies.

    The service then drains, because nothing else would stop it. Does nothing without supervisord:
    systemd stops its services itself, and a detached service must outlive its parent.
    """
    if "SUPERVISOR_ENABLED" not in environment:
        return
    before = os.getppid()
    libc.C.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != before:  # it died before the call
        signal.raise_signal(signal.SIGTERM)
