"""The preference of the OOM killer (oom_score_adj of proc(5)): a command ends before the service.

The OOM killer ends the process that uses the most memory. If a job fills the memory with many
small processes, or with files in a tmpfs, that would be the supervisor of each service in turn.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_COMMANDS = 200  # more for commands, in thousandths of the machine's memory
_MOST = 1000


class OomScore:
    """The score of this process, which a command inherits that is started while it is raised."""

    def __init__(self) -> None:
        self._file, self._own = -1, 0
        with suppress(OSError):  # /proc may be read-only
            self._file = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            self._own = int(os.read(self._file, 16))

    @contextmanager
    def raised(self, *, wanted: bool) -> Iterator[None]:
        """Raises the score within the block if `wanted`, unless the system forbids to write it."""
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
