"""Which session the command of each worker has: notes in the lock file that outlive the service.

Whoever cleans up after an instance that died whole finds commands by the mark in their
environment. A program that has become another user's hides that, and one may empty it: those are
found by their session. Noting costs a few bytes of memory: the file is mapped.
"""

import mmap
import os
import struct
from typing import NamedTuple

from queued.core import times
from queued.core.errors import StorageError
from queued.service.linux.procfs import Process

_TICKS_S = os.sysconf("SC_CLK_TCK")
_NOTE = struct.Struct("qqq")  # token of the claim, when its leader was noted, the leader's pid
_NUMBER = struct.Struct("q")
_SLOT = 32
_SLOTS = 1026  # the first two say where the notes hold, then one for each worker
_HEADER = _SLOT * 2
_SIZE = _SLOT * _SLOTS


class CommandSession(NamedTuple):
    """The session that a command leads; it had begun at `noted` (clock ticks since boot).

    Without a leader (0) the command was about to be started.
    """

    leader: int
    noted: int

    def led_by(self, process: Process) -> bool:
        """Whether this is the command itself, and not one that has its pid after it."""
        return process.pid == self.leader and process.started <= self.noted


class RunNotes:
    """Written by the workers of an instance. Made before the first fork."""

    def __init__(self, lock: int) -> None:
        """`lock` is the open lock file. Raises StorageError."""
        self._lock = lock
        try:
            os.ftruncate(lock, _SIZE)
            self._memory = mmap.mmap(lock, _SIZE)
        except OSError as error:
            msg = f"cannot make the lock file {_SIZE} bytes long: {error.strerror}"
            raise StorageError(msg) from None

    def make_room(self, slot: int) -> None:
        """Call it before there is a worker in this slot. Raises OSError: the disk may be full.

        Whoever writes where the disk has no room for it would be killed for that.
        """
        os.pwrite(self._lock, _here(), 0)
        os.pwrite(self._lock, bytes(_SLOT), _offset(slot))

    def note(self, slot: int) -> "RunNote":
        """The note of the worker in this slot."""
        return RunNote(self._memory, _offset(slot))

    def last(self, slot: int) -> int:
        """The token of the claim whose command was started last in this slot; 0 if none was."""
        token: int = _NUMBER.unpack_from(self._memory, _offset(slot))[0]
        return token


class RunNote:
    """One worker's, which it writes itself."""

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        self._memory = memory
        self._token_at, self._pid_at = at, at + 2 * _NUMBER.size

    def starts(self, token: int) -> None:
        """The command of this claim is started now; 0: it could not be, nor is any other."""
        _NUMBER.pack_into(self._memory, self._pid_at, 0)
        _NUMBER.pack_into(self._memory, self._token_at, token)

    def started(self, pid: int) -> None:
        """It leads a session. The pid last: whoever dies in between has noted none."""
        _NUMBER.pack_into(self._memory, self._token_at + _NUMBER.size, _ticks())
        _NUMBER.pack_into(self._memory, self._pid_at, pid)


def noted(lock: int) -> dict[int, CommandSession] | None:
    """The notes of an instance by the token of the claim, from its open lock file.

    Only claims that were begun have one. None: it is not known which were, since the machine has
    booted since, or the instance was in another container.
    """
    text = os.pread(lock, _SIZE, 0)
    if text[:_HEADER] != _here() or len(text) < _SIZE:
        return None
    notes = (_NOTE.unpack_from(text, at) for at in range(_HEADER, _SIZE, _SLOT))
    return {token: CommandSession(pid, ticks) for token, ticks, pid in notes if token}


def _offset(slot: int) -> int:
    return _HEADER + (slot - 1) * _SLOT


def _ticks() -> int:
    return times.boot_ms() * _TICKS_S // 1000


def _here() -> bytes:
    """Where a pid means something: this boot, and this name space of pids."""
    here = f"{times.boot_id()} {os.stat('/proc/self/ns/pid').st_ino}"
    return here.encode().ljust(_HEADER, b"\0")
