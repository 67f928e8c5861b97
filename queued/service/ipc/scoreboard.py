"""Memory that the processes of an instance share, and that commands cannot access.

Each worker records its current run there, so that the supervisor knows which run was lost if the
worker is killed. The supervisor records there that running jobs must end, so that a job that sends
SIGQUIT to its worker has no effect.
"""

import mmap
import struct

from queued.core import times
from queued.core.lease import Lease
from queued.service.ipc.run_notes import RunNotes
from queued.service.linux.procfs import RunName
from queued.service.linux.run_mark import RunMark

DISPATCHER = 0  # its slot; workers have the slots from 1 on
WARDEN = 1025  # its slot; there are at most 1024 workers
_SLOT = 4096
_SLOTS = WARDEN + 1
_LENGTH, _RENEWED = 2, 3  # the places of the lease in slot 0, counted in numbers of 8 bytes
_ENDED, _DEAD = 4, 5  # the places of the numbers of ended runs and of dead jobs
_LINE = 503  # the longest id is 64 characters of at most 4 bytes, then the attempt's number
_RUNNING = _LINE
_ANSWERED = _LINE + 1  # in slot 0 the dispatcher's
_PID = _LINE + 9
_LEFT = _LINE + 17  # the mark of a run that left processes on purpose, or 0
_NUMBER = struct.Struct("q")


class Scoreboard:
    """A slot for each worker. Create it before the first fork."""

    def __init__(self, run_notes: RunNotes) -> None:
        self.run_notes = run_notes
        self._memory = mmap.mmap(-1, _SLOT * _SLOTS)
        # Each of these is written at once: a reader never sees a part of it.
        self._numbers = memoryview(self._memory).cast("d")

    def drain(self) -> None:
        """Records that a stop of the service was asked for."""
        self._memory[1] = 1

    @property
    def draining(self) -> bool:
        """Whether a stop of the service was asked for."""
        return self._memory[1] == 1

    def stop(self) -> None:
        """Records that running jobs must end."""
        self._memory[0] = 1

    @property
    def stopping(self) -> bool:
        """Whether running jobs must end."""
        return self._memory[0] == 1

    def record_lease(self, lease: Lease, renewed_s: float) -> None:
        """Records that the lease of the instance was renewed at this time of `times.boot_s`."""
        self._numbers[_RENEWED] = renewed_s  # first: a lease with a length counts from it
        self._numbers[_LENGTH] = lease.length_s

    @property
    def lease(self) -> Lease | None:
        """The lease of the instance; None if no other host can take over its jobs."""
        length_s = self._numbers[_LENGTH]
        return Lease(length_s) if length_s else None

    @property
    def renewed_s(self) -> float:
        """When the lease was renewed last."""
        return self._numbers[_RENEWED]

    def record_ended_runs(self, count: int) -> None:
        """Adds to the number of runs that have ended."""
        self._numbers[_ENDED] += count

    @property
    def ended_runs(self) -> int:
        """How many runs have ended, if the dispatcher counts them."""
        return int(self._numbers[_ENDED])

    def record_dead_jobs(self, count: int) -> None:
        """Adds to the number of jobs that have become dead."""
        self._numbers[_DEAD] += count

    @property
    def dead_jobs(self) -> int:
        """How many jobs of the service have become dead, if the dispatcher counts them."""
        return int(self._numbers[_DEAD])

    def record_pid(self, slot: int, pid: int) -> None:
        """Records the pid of the worker in this slot."""
        _NUMBER.pack_into(self._memory, slot * _SLOT + _PID, pid)

    def pid(self, slot: int) -> int:
        """Returns the pid of the worker that was last in this slot; 0 if there was none."""
        pid: int = _NUMBER.unpack_from(self._memory, slot * _SLOT + _PID)[0]
        return pid

    def clear(self, slot: int) -> None:
        """Removes all about the worker in this slot; call it before a worker starts in it."""
        self._memory[slot * _SLOT : (slot + 1) * _SLOT] = bytes(_SLOT)

    def record_run(self, slot: int, job: str, attempt: int) -> None:
        """Records that the worker in this slot begins a run."""
        line = f"{attempt} {job}".encode().ljust(_LINE, b"\0")
        self._memory[slot * _SLOT : slot * _SLOT + _LINE + 1] = line + b"\1"

    def end_run(self, slot: int) -> None:
        """Records that no command of the worker in this slot runs or is being stopped."""
        self._memory[slot * _SLOT + _RUNNING] = 0

    def last_run(self, slot: int) -> RunName:
        """Returns the last run of the worker in this slot."""
        line = self._memory[slot * _SLOT : slot * _SLOT + _LINE].rstrip(b"\0")
        attempt, _, job = line.partition(b" ")
        return RunName(job, attempt)

    def record_left(self, slot: int, mark: RunMark) -> None:
        """Records that the last run of the worker in this slot left processes on purpose.

        Its name is removed, so that it does not count as lost if the worker is killed.
        """
        self._memory[slot * _SLOT : slot * _SLOT + _LINE + 1] = bytes(_LINE + 1)
        _NUMBER.pack_into(self._memory, slot * _SLOT + _LEFT, mark)

    def left(self, slot: int) -> RunMark | None:
        """Returns the mark of the run of which this worker left processes on purpose, if any."""
        mark: int = _NUMBER.unpack_from(self._memory, slot * _SLOT + _LEFT)[0]
        return RunMark(mark) if mark else None

    def running(self, slot: int) -> bool:
        """Returns whether a command of the worker in this slot runs or is being stopped."""
        return self._memory[slot * _SLOT + _RUNNING] == 1

    def record_answer(self, slot: int) -> None:
        """Records that the process in this slot has answered the watchdog."""
        self._numbers[(slot * _SLOT + _ANSWERED) // 8] = times.monotonic_s()

    def answered_s(self, slot: int) -> float:
        """Returns when the process in this slot answered last, in monotonic seconds."""
        return self._numbers[(slot * _SLOT + _ANSWERED) // 8]
