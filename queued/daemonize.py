"""`--background`: leaves the terminal, and stays with the caller until the service is ready."""

import os
import sys
from typing import NamedTuple


class Attached(NamedTuple):
    """In the process that becomes the service: the pipe to write to once it is ready."""

    ready_pipe: int


class Started(NamedTuple):
    """In the process that the user waits for: how it went, as an exit code."""

    exit_code: int


def detach(log: int) -> Attached | Started:
    """Forks the service off, in a session of its own with its output in the open log file.

    Returns twice: `Attached` in the service; `Started` in the caller, once the service has said
    that it is ready (0) or has ended (its code). Raises OSError.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(write)
        ready = os.read(read, 1)
        code = 0 if ready else abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return Started(code)
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
