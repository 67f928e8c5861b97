"""The table of the supervisor's children: which live, which are due to be started, and when.

Pure: no system call and no clock, so that every rule of it is tested without forking.
"""

from typing import NamedTuple

from queued.core.backoff import restart_s
from queued.service.ipc.scoreboard import DISPATCHER, WARDEN

_EARLY_S = 10.0  # a child that fails sooner counts as a failed start
_DISPATCHER_S = 5.0  # its longest wait, as between turns: while it waits, no lease is renewed


class Child(NamedTuple):
    """A living child."""

    slot: int
    pid: int
    started_s: float

    @property
    def role(self) -> str:
        """`dispatcher`, `worker` or `warden`."""
        return {DISPATCHER: "dispatcher", WARDEN: "warden"}.get(self.slot, "worker")

    @property
    def name(self) -> str:
        """`dispatcher`, `worker 3` or `warden`."""
        return f"{self.role} {self.slot}" if self.is_worker else self.role

    @property
    def is_worker(self) -> bool:
        """Whether it runs commands."""
        return self.slot not in (DISPATCHER, WARDEN)

    @property
    def log_fields(self) -> dict[str, object]:
        """What log lines about it have."""
        return {"child": self.role, "slot": self.slot, "child_pid": self.pid}


class EndedChild(NamedTuple):
    """A child that was reaped; the exit code is negative for a signal, as in subprocess."""

    child: Child
    exit_code: int

    @property
    def lost_run(self) -> bool:
        """Whether it was a worker that did not exit by itself, so that its run may be lost."""
        return self.exit_code != 0 and self.child.is_worker


class Children:
    """The slots that must be filled, and the child that lives in each.

    `warded`: one of them is a warden, which the supervisor kills when all others have ended.
    """

    def __init__(self, workers: int, *, warded: bool = False) -> None:
        self.workers = workers
        self.warded = warded
        self.restart_workers = True
        self.restart_dispatcher = True
        self._living: dict[int, Child] = {}
        self._failed_starts: dict[int, int] = {}  # in a row, by slot
        self._start_s: dict[int, float] = {}
        self.blocked_slots: set[int] = set()  # nothing may start in them yet

    def started(self, slot: int, pid: int, now_s: float) -> Child:
        """Adds the child that was forked for the slot, and returns it."""
        child = self._living[slot] = Child(slot, pid, now_s)
        return child

    def ended(self, pid: int, now_s: float, *, clean: bool) -> Child | None:
        """Removes a child that has exited and returns it; None if the table has no such pid.

        `clean`: its exit code is 0, so that the next start in its slot is due at once.
        """
        child = next((child for child in self._living.values() if child.pid == pid), None)
        if child is None:
            return None
        del self._living[child.slot]
        self.failed(child.slot, now_s, early=now_s - child.started_s < _EARLY_S and not clean)
        return child

    def failed(self, slot: int, now_s: float, *, early: bool) -> float:
        """Schedules the next start in the slot; returns the seconds until then.

        `early`: the start failed, or the child died soon after it.
        """
        self._failed_starts[slot] = self._failed_starts.get(slot, 0) + 1 if early else 0
        wait_s = restart_s(self._failed_starts[slot])
        wait_s = min(wait_s, _DISPATCHER_S) if slot == DISPATCHER else wait_s
        self._start_s[slot] = now_s + wait_s
        return wait_s

    def living(self) -> list[Child]:
        """Returns the living children, the dispatcher first."""
        return sorted(self._living.values())

    def living_workers(self) -> list[Child]:
        """Returns the living workers."""
        return [child for child in self.living() if child.is_worker]

    def serving(self) -> bool:
        """Returns whether a dispatcher or a worker lives, or a dispatcher is to be started."""
        return self.restart_dispatcher or any(c.slot != WARDEN for c in self._living.values())

    def warden(self) -> Child | None:
        """Returns the warden if it lives."""
        return self._living.get(WARDEN)

    def dispatcher(self) -> Child | None:
        """Returns the dispatcher if it lives."""
        return self._living.get(DISPATCHER)

    def surplus(self) -> list[Child]:
        """Returns the workers beyond the number that is wanted."""
        return [child for child in self.living_workers() if child.slot > self.workers]

    def due(self, now_s: float) -> list[int]:
        """Returns the empty slots whose start is due, the dispatcher first."""
        return [slot for slot in self._empty() if self._start_s.get(slot, 0.0) <= now_s]

    def next_s(self) -> float | None:
        """Returns when the next empty slot is due; None if all are filled."""
        return min((self._start_s.get(slot, 0.0) for slot in self._empty()), default=None)

    def _empty(self) -> list[int]:
        workers = range(1, self.workers + 1) if self.restart_workers else ()
        warden = [WARDEN] if self.warded and self.serving() else []
        wanted = [*([DISPATCHER] if self.restart_dispatcher else []), *workers, *warden]
        taken = self._living.keys() | self.blocked_slots
        return [slot for slot in wanted if slot not in taken]
