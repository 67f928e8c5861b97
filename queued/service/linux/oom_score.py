"""The preference of the OOM killer (oom_score_adj of proc(5)): a command ends before the service.

Otherwise a job that fills the memory with many small processes, or with files of a tmpfs, costs
the largest process, which is the supervisor, and then again that of each new service.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_COMMANDS = 200  # thousandths of the machine's memory that a command seems to use more
_MOST = 1000


class OomScore:
    """The score of this process, which a command inherits if it is started while it is raised."""

    def __init__(self) -> None:
        self._file, self._own = -1, 0
        with suppress(OSError):  # /proc may be read-only
            self._file = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            self._own = int(os.read(self._file, 16))

    @contextmanager
    def raised(self, *, wanted: bool) -> Iterator[None]:
        """Raises the score meanwhile. Does nothing where the system forbids to write it."""
        if not wanted:
            yield
            return
        self._write(min(self._own + _COMMANDS, _MOST))
        try:
            yield
        finally:
            self._write(self._own)

    def _write(self, score: int) -> None:
        with suppress(OSError):
            os.pwrite(self._file, b"%d" % score, 0)
