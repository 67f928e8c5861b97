"""The open descriptors of a running process, from /proc."""

import os
from contextlib import suppress


def targets(pid: int) -> list[str]:
    """Returns the targets of the descriptors, without those that close meanwhile.

    Each thread is read, because a first thread that has ended shows none.
    """
    found = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += _targets(f"/proc/{pid}/task/{thread}/fd")
    return found


def _targets(directory: str) -> list[str]:
    found = []
    with suppress(OSError):
        for name in os.listdir(directory):
            with suppress(OSError):
                found.append(os.readlink(f"{directory}/{name}"))
    return found


def watches(pid: int) -> bool:
    """Returns whether the process has an inotify instance."""
    return "anon_inode:inotify" in targets(pid)
