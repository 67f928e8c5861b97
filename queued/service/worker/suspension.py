"""The suspension of a run: its processes are frozen, and its timeout does not count meanwhile.

A control group freezes them; without one they get STOP. Both still die by KILL.
"""

import signal

from queued.core import times
from queued.service.linux.cgroup import Cgroup
from queued.service.worker.process_tree import ProcessTree


class Suspension:
    """Whether a run is suspended, and for how long it has been; times are monotonic."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._before_s = 0.0  # the length of the earlier suspensions
        self._grouped = False  # whether the control group is frozen

    @property
    def active(self) -> bool:
        """Whether the run is suspended."""
        return self._since_s is not None

    @property
    def length_s(self) -> float:
        """How long the run has been suspended; `NEVER_S` while it is, because the end is open."""
        return times.NEVER_S if self.active else self._before_s

    def begin(self, tree: ProcessTree, group: Cgroup | None, now_s: float) -> None:
        """Freezes the processes of the run."""
        self._since_s = now_s
        self._grouped = group is not None and group.freeze()
        if not self._grouped:
            tree.stop()

    def end(self, tree: ProcessTree, group: Cgroup | None, now_s: float) -> None:
        """Lets the processes go on; does nothing if the run is not suspended."""
        if self._since_s is None:
            return
        self._before_s += now_s - self._since_s
        self._since_s = None
        if self._grouped and group is not None:
            group.thaw()
        else:
            tree.signal(signal.SIGCONT)
