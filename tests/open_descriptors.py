"""What /proc says about the descriptors of a process that runs on meanwhile."""

import os
from contextlib import suppress


def targets(pid: int) -> list[str]:
    """What its descriptors stand for; those that close during the look are left out."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []
    found = []
    for name in names:
        with suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def watches(pid: int) -> bool:
    """Whether it has made an inotify instance."""
    return "anon_inode:inotify" in targets(pid)
