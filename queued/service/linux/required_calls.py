"""Finds out which system calls that a service needs are refused here.

A seccomp filter (of systemd, or of a container) refuses calls that it does not list, and an old
kernel lacks some of them. A service that started without them could neither run nor kill a job.
"""

import errno
import os
import signal
from collections.abc import Callable

from queued.service.linux.signals import child_exits_descriptor
from queued.service.linux.timers import timer_descriptor

_REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})


def _signalled_pidfd() -> int:
    descriptor = os.pidfd_open(os.getpid())
    try:
        signal.pidfd_send_signal(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


# Each function makes the calls and returns a descriptor.
_CALLS: dict[str, Callable[[], int]] = {
    "pidfd_open or pidfd_send_signal": _signalled_pidfd,
    "signalfd": child_exits_descriptor,
    "timerfd_create": timer_descriptor,
}


def refused_calls() -> list[str]:
    """Returns the names of the system calls that the kernel or a seccomp filter refuses.

    Raises OSError if a call fails for another reason, for example without free descriptors.
    """
    refused = []
    for name, call in _CALLS.items():
        try:
            os.close(call())
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            refused.append(name)
    return refused
