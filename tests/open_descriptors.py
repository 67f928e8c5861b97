"""What /proc says about the descriptors of a process that runs on meanwhile."""

import os
from contextlib import suppress


def targets(pid: int) -> list[str]:
    """What its descriptors stand for; those that close during the look are left out.

    Each thread is asked: a first thread that has ended shows none.
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
    """Whether it has made an inotify instance."""
    return "anon_inode:inotify" in targets(pid)
