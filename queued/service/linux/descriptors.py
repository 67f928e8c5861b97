"""The descriptors of this process: their limit, and which of them commands inherit."""

import os
import resource


def raise_limit() -> int:
    """Raises the soft limit of open files to the hard limit; returns the old soft limit."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return before


def set_limit(soft: int) -> None:
    """Sets the soft limit of open files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def limit() -> int:
    """Returns the soft limit of open files."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def close_on_exec() -> None:
    """Makes all descriptors from 3 on close on exec, and standard input /dev/null."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
            os.set_inheritable(int(name), False)  # noqa: FBT003  its signature
