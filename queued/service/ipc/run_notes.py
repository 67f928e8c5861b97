"""Notes in the lock file: the session of each worker's command. They outlive the service.

If an instance dies whole, its rescue finds by them the commands that have lost their mark. To write
a note is cheap, because the file is mapped into memory. A job may truncate the file; the kernel
kills a process that uses what is cut off (SIGBUS). So only workers use the mapped file, and check
its length before.
"""

import mmap
import os
import struct

from queued.core import run_note_layout, times
from queued.core.errors import StorageError
from queued.core.run_note_layout import IDENTITY_AT, SIZE, SLOT_BYTES, CommandSession, offset

_TICKS_S = os.sysconf("SC_CLK_TCK")
_NUMBER = struct.Struct("q")


class RunNotes:
    """The notes of an instance's workers. Create it before the first fork."""

    def __init__(self, lock: int) -> None:
        """`lock` is the open lock file. Raises StorageError."""
        self._lock = lock
        self.tokens = mmap.mmap(-1, SIZE)  # the part of the notes that the supervisor reads
        try:
            os.ftruncate(lock, SIZE)
            os.pwrite(lock, run_note_layout.validity(), 0)
            self.memory = mmap.mmap(lock, SIZE)
        except OSError as error:
            msg = f"cannot make the lock file {SIZE} bytes long: {error.strerror}"
            raise StorageError(msg) from None

    def make_room(self, slot: int) -> None:
        """Allocates the note of a worker; call it before the worker is started in this slot.

        Raises OSError, for example if the disk is full: the kernel would kill the worker at its
        first note (SIGBUS).
        """
        self.restore_length()
        os.pwrite(self._lock, bytes(SLOT_BYTES), offset(slot))
        _NUMBER.pack_into(self.tokens, offset(slot), 0)

    def restore_length(self) -> None:
        """Makes the file as long as before if it was truncated; its other notes are not valid then.

        Raises OSError.
        """
        if os.fstat(self._lock).st_size < SIZE:
            os.ftruncate(self._lock, SIZE)
            os.pwrite(self._lock, run_note_layout.identity(self._lock), IDENTITY_AT)

    def note(self, slot: int) -> "RunNote":
        """Returns the note of the worker in this slot."""
        return RunNote(self, offset(slot))

    def last(self, slot: int) -> int:
        """Returns the token of the claim whose command was started last in this slot, or 0."""
        token: int = _NUMBER.unpack_from(self.tokens, offset(slot))[0]
        return token


class RunNote:
    """The note of one worker, written by that worker."""

    def __init__(self, notes: RunNotes, at: int) -> None:
        self._notes = notes
        self._token_at, self._pid_at = at, at + 2 * _NUMBER.size

    def record_starting(self, token: int) -> None:
        """Notes that the command of this claim is about to be started; token 0: no command is.

        Raises OSError if the file was truncated and cannot be made longer.
        """
        self._notes.restore_length()
        _NUMBER.pack_into(self._notes.memory, self._pid_at, 0)
        _NUMBER.pack_into(self._notes.memory, self._token_at, token)
        _NUMBER.pack_into(self._notes.tokens, self._token_at, token)

    def record_pid(self, pid: int) -> None:
        """Notes the pid of the command. It is written last: an incomplete note has no pid."""
        _NUMBER.pack_into(self._notes.memory, self._token_at + _NUMBER.size, _ticks())
        _NUMBER.pack_into(self._notes.memory, self._pid_at, pid)


def read_notes(lock: int) -> dict[int, CommandSession] | None:
    """Returns the notes of an instance, from its open lock file; see `run_note_layout.parse`."""
    return run_note_layout.parse(os.pread(lock, SIZE, 0))


def _ticks() -> int:
    return times.boot_ms() * _TICKS_S // 1000
