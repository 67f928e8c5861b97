"""`--background`: leaves the terminal, and stays with the caller until the service is ready."""

import os
import sys
from typing import NamedTuple

from queued.core.errors import Exit


class Attached(NamedTuple):
    """In the process that becomes the service: the pipe to write to once it is ready."""

    ready_pipe: int


class Started(NamedTuple):
    """In the process that the user waits for: whether the service is ready, or how it ended."""

    ready: bool
    exit_code: int = 0


def detach(log: int) -> Attached | Started:
    """Forks the service off, in a session of its own with its output in the open log file.

    Returns twice: `Attached` in the service; `Started` in the caller, when the service is ready or
    has ended. Its end by a signal has the exit code of an internal error. Raises OSError.
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
    return Attached(write)


def fill_standard_streams() -> None:
    """Opens /dev/null in place of each of the three that we were started without.

    Else the first files that we open would get their numbers, and what is printed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
