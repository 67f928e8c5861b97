"""Notes in the lock file: the session of each worker's command. They outlive the service.

If an instance dies whole, its rescue finds by them the commands that have lost their mark. To write
a note is cheap, because the file is mapped into memory.
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
_SLOTS = 1028  # four for the header, then one for each worker
_HEADER = _SLOT * 4
_VALIDITY = _SLOT * 2  # says where the notes are valid; the other half is the lock's own
_SIZE = _SLOT * _SLOTS


class CommandSession(NamedTuple):
    """The session that a command leads. The command was started before `noted`.

    `noted` is in clock ticks since boot. Leader 0: the command was about to be started.
    """

    leader: int
    noted: int

    def led_by(self, process: Process) -> bool:
        """Returns whether the process is the command, and not a later one with its pid."""
        return process.pid == self.leader and process.started <= self.noted


class RunNotes:
    """The notes of an instance's workers. Create it before the first fork."""

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
        """Allocates the note of a worker; call it before the worker is started in this slot.

        Raises OSError, for example if the disk is full: the kernel would kill the worker at its
        first note (SIGBUS).
        """
        os.pwrite(self._lock, _validity(), 0)
        os.pwrite(self._lock, bytes(_SLOT), _offset(slot))

    def note(self, slot: int) -> "RunNote":
        """Returns the note of the worker in this slot."""
        return RunNote(self._memory, _offset(slot))

    def last(self, slot: int) -> int:
        """Returns the token of the claim whose command was started last in this slot, or 0."""
        token: int = _NUMBER.unpack_from(self._memory, _offset(slot))[0]
        return token


class RunNote:
    """The note of one worker, written by that worker."""

    def __init__(self, memory: mmap.mmap, at: int) -> None:
        self._memory = memory
        self._token_at, self._pid_at = at, at + 2 * _NUMBER.size

    def record_starting(self, token: int) -> None:
        """Notes that the command of this claim is about to be started; token 0: no command is."""
        _NUMBER.pack_into(self._memory, self._pid_at, 0)
        _NUMBER.pack_into(self._memory, self._token_at, token)

    def record_pid(self, pid: int) -> None:
        """Notes the pid of the command. It is written last: an incomplete note has no pid."""
        _NUMBER.pack_into(self._memory, self._token_at + _NUMBER.size, _ticks())
        _NUMBER.pack_into(self._memory, self._pid_at, pid)


def read_notes(lock: int) -> dict[int, CommandSession] | None:
    """Returns the notes of an instance by the token of the claim, from its open lock file.

    Only claims that were begun have a note. Returns None if pids and times in the notes mean
    nothing here: the machine has booted since, or the instance was in another namespace.
    """
    text = os.pread(lock, _SIZE, 0)
    if text[:_VALIDITY] != _validity() or len(text) < _SIZE:
        return None
    notes = (_NOTE.unpack_from(text, at) for at in range(_HEADER, _SIZE, _SLOT))
    return {token: CommandSession(pid, ticks) for token, ticks, pid in notes if token}


def _offset(slot: int) -> int:
    return _HEADER + (slot - 1) * _SLOT


def _ticks() -> int:
    return times.boot_ms() * _TICKS_S // 1000


def _validity() -> bytes:
    """Returns where the notes are valid: in this boot, and in these namespaces of pids and time."""
    text = times.boot_id() + "".join(f" {_namespace(kind)}" for kind in ("pid", "time"))
    return text.encode().ljust(_VALIDITY, b"\0")


def _namespace(kind: str) -> int:
    """Returns the number of a namespace of this process; 0 if the kernel has none of that kind."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except FileNotFoundError:
        return 0
