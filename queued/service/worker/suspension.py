"""The suspension of a run: its processes are frozen, and its timeout does not count meanwhile.

A control group freezes them; those that are in no such group, or have left it, get STOP. Both
still die by KILL.

Some programs, such as script(1), stop themselves when they learn that their child was stopped. They
do so only after their own CONT, so processes that are stopped a little later get CONT again.
"""

from queued.core import times
from queued.service.linux.cgroup import Cgroup
from queued.service.linux.procfs import Process
from queued.service.worker.process_tree import ProcessTree

_RESUME_AGAIN_S = 0.3
_STOPS = {"STOP", "TSTP", "TTIN", "TTOU"}


class Suspension:
    """Whether a run is suspended, and for how long it has been; times are monotonic."""

    def __init__(self, tree: ProcessTree) -> None:
        self.next_s = times.NEVER_S  # when `tick` wants to be called
        self._tree = tree
        self._spared = set[tuple[int, int]]()  # pids and starts of what was stopped before
        self._since_s: float | None = None
        self._before_s = 0.0  # the length of the earlier suspensions
        self._frozen: Cgroup | None = None

    @property
    def active(self) -> bool:
        """Whether the run is suspended."""
        return self._since_s is not None

    @property
    def length_s(self) -> float:
        """How long the run has been suspended; `NEVER_S` while it is, because the end is open."""
        return times.NEVER_S if self.active else self._before_s

    def begin(self, group: Cgroup | None, now_s: float) -> None:
        """Freezes the processes of the run."""
        if self.next_s == times.NEVER_S:  # else the suspension before may have stopped them
            self._spared = {(process.pid, process.started) for process in self._tree.stopped()}
        self.next_s = times.NEVER_S
        self._since_s = now_s
        self._frozen = group if group is not None and group.freeze() else None
        self._tree.stop(self._frozen)

    def end(self, now_s: float) -> None:
        """Lets the processes go on; does nothing if the run is not suspended."""
        if self._since_s is None:
            return
        self._before_s += now_s - self._since_s
        self._since_s = None
        if stopped := self._tree.outside(self._frozen):
            self._resume(stopped)
            self.next_s = now_s + _RESUME_AGAIN_S
        if self._frozen is not None:
            self._frozen.thaw()  # last, because parents of stopped processes may be in it

    def tick(self, now_s: float) -> None:
        """Lets processes go on that have stopped themselves after the end of a suspension."""
        if now_s >= self.next_s:
            self.next_s = times.NEVER_S
            self._resume(self._tree.stopped())

    def on_signal(self, name: str) -> None:
        """Call it before a signal to the run: `tick` must not undo one that stops it."""
        if name in _STOPS:
            self.next_s = times.NEVER_S

    def _resume(self, processes: list[Process]) -> None:
        self._tree.resume([one for one in processes if (one.pid, one.started) not in self._spared])
