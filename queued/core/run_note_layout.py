"""The layout of the notes in a lock file: which process leads the command of each claim.

A worker writes its own note (`service/ipc/run_notes.py`), and other programs read it. This module
says what the bytes mean; it opens no lock file.
"""

import os
import struct
from typing import NamedTuple

from queued.core import times

_NOTE = struct.Struct("qqq")  # token of the claim, when its leader was noted, the leader's pid
SLOT_BYTES = 32
SIZE = SLOT_BYTES * 1028  # four for the header, then one for each worker
_HEADER = SLOT_BYTES * 4
_VALIDITY = SLOT_BYTES * 2  # says where the notes are valid
IDENTITY_AT, IDENTITY_BYTES = _VALIDITY, _HEADER - _VALIDITY  # which file the lock file itself is


class CommandSession(NamedTuple):
    """The session that a command leads. The command was started before `noted`.

    `noted` is in clock ticks since boot. Leader 0: the command was about to be started.
    """

    leader: int
    noted: int

    def led_by(self, pid: int, started: int) -> bool:
        """Returns whether the process is the command, and not a later one with its pid.

        `started` is in clock ticks since boot.
        """
        return pid == self.leader and started <= self.noted


def offset(slot: int) -> int:
    """Returns where the note of the worker in this slot begins; slots count from 1."""
    return _HEADER + (slot - 1) * SLOT_BYTES


def parse(content: bytes) -> dict[int, CommandSession] | None:
    """Returns the notes of an instance by the token of the claim.

    Only claims that were begun have a note. Returns None if pids and times in the notes mean
    nothing here: the machine has booted since, or the instance was in another namespace.
    """
    if content[:_VALIDITY] != validity() or len(content) < SIZE:
        return None
    notes = (_NOTE.unpack_from(content, at) for at in range(_HEADER, SIZE, SLOT_BYTES))
    return {token: CommandSession(pid, ticks) for token, ticks, pid in notes if token}


def identity(descriptor: int) -> bytes:
    """Returns which file the open lock file is. A copy of it is another file."""
    found = os.fstat(descriptor)
    return f"{found.st_dev}:{found.st_ino}".encode().ljust(IDENTITY_BYTES, b"\0")


def validity() -> bytes:
    """Returns where the notes are valid: in this boot, and in these namespaces of pids and time."""
    text = times.boot_id() + "".join(f" {_namespace(kind)}" for kind in ("pid", "time"))
    return text.encode().ljust(_VALIDITY, b"\0")


def _namespace(kind: str) -> int:
    """Returns the number of a namespace of this process; 0 if the kernel has none of that kind."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except FileNotFoundError:
        return 0
