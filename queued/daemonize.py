"""`--background`: detaches the service, while the caller waits until it is ready."""

import os
import sys
from typing import NamedTuple

from queued.core.errors import Exit


class Detached(NamedTuple):
    """The result in the service: the pipe that it must write to once it is ready."""

    ready_pipe: int


class Started(NamedTuple):
    """The result in the caller: whether the service is ready, else its exit code."""

    ready: bool
    exit_code: int = 0


def detach(log: int) -> Detached | Started:
    """Forks the service into its own session, with its output in the open log file.

    Returns `Detached` in the service. Returns `Started` in the caller once the service is ready or
    has ended; death by a signal is reported as an internal error. Raises OSError.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(write)
        if os.read(read, 1):
            return Started(ready=True)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return Started(ready=False, exit_code=code if code >= 0 else int(Exit.INTERNAL))
    os.close(read)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    sys.stdout.flush()
    for descriptor, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.close(null)
    os.close(log)
    return Detached(write)


def fill_standard_streams() -> None:
    """Opens /dev/null as each standard stream that is closed.

    Otherwise the next file that is opened would get its number, and receive what is printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
