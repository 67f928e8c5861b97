"""Memory that the processes of an instance share: each worker writes down which run it is at.

It outlives a worker that is killed, so that the supervisor knows which run it left.
"""

import mmap

from queued.service.processes import RunName

_SLOT = 512  # the longest id is 64 characters of at most 4 bytes, then the attempt's number
_SLOTS = 1025  # as many workers as there may be; slot 0 is the dispatcher's and stays empty


class Board:
    """A line for each worker. Made before the first fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOT * _SLOTS)

    def write(self, slot: int, job: str, attempt: int) -> None:
        """The run that the worker in this slot is at."""
        line = f"{attempt} {job}".encode().ljust(_SLOT, b"\0")
        self._memory[slot * _SLOT : (slot + 1) * _SLOT] = line

    def read(self, slot: int) -> RunName:
        """The run that the worker in this slot was at last."""
        line = self._memory[slot * _SLOT : (slot + 1) * _SLOT].rstrip(b"\0")
        attempt, _, job = line.partition(b" ")
        return job, attempt
