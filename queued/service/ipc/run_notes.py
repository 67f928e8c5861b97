"""Which session the command of each worker has: notes in the lock file that outlive the service.

The rescue of an instance that died whole finds commands by their session where they bear no mark
any more. A note costs a few bytes of memory, because the file is mapped.
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
        """Returns whether this is the command itself, and not a later process with its pid."""
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
        """Call it before a worker is started in this slot. Raises OSError: the disk may be full.

        A worker that wrote a note where the disk has no room for it would be killed (SIGBUS).
        """
        os.pwrite(self._lock, _here(), 0)
        os.pwrite(self._lock, bytes(_SLOT), _offset(slot))

    def note(self, slot: int) -> "RunNote":
        """Returns the note of the worker in this slot."""
        return RunNote(self._memory, _offset(slot))

    def last(self, slot: int) -> int:
        """Returns the token of the claim whose command was started last in this slot, or 0."""
        token: int = _NUMBER.unpack_from(self._memory, _offset(slot))[0]
        return token


class RunNote:
    """The note of one worker, which writes it."""

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        self._memory = memory
        self._token_at, self._pid_at = at, at + 2 * _NUMBER.size

    def record_starting(self, token: int) -> None:
        """Notes that the command of this claim is about to be started; 0: no command is."""
        _NUMBER.pack_into(self._memory, self._pid_at, 0)
        _NUMBER.pack_into(self._memory, self._token_at, token)

    def record_pid(self, pid: int) -> None:
        """Notes the pid of the command. It is written last, so that half a note has none."""
        _NUMBER.pack_into(self._memory, self._token_at + _NUMBER.size, _ticks())
        _NUMBER.pack_into(self._memory, self._pid_at, pid)


def noted(lock: int) -> dict[int, CommandSession] | None:
    """Returns the notes of an instance by the token of the claim, from its open lock file.

    Only claims that were begun have one. Returns None if the notes say nothing here: the machine
    has booted since, or the instance was in another name space of pids.
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
