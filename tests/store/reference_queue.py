"""A queue in memory: the life of a job by the README, written as simply as possible."""

from dataclasses import dataclass, field

from queued.core.model import Outcome, State
from queued.core.runs import Ending

WAITING, ENDED = State.PENDING, frozenset({State.COMPLETED, State.DEAD, State.CANCELLED})


@dataclass
class Wait:
    """A condition of a job."""

    on: "Task"
    condition: str
    status: str = "waiting"

    def now(self) -> str:
        """The status by the state of the other job."""
        if self.on.state not in ENDED:
            return "waiting"
        wanted = {"after": State.COMPLETED, "after_fail": State.DEAD}
        met = self.on.state is wanted.get(self.condition, self.on.state)
        return "met" if met else "failed"


@dataclass
class Task:
    """A job of the reference queue."""

    seq: int
    queue: str
    priority: int
    max_retries: int
    run_at: int
    ready: bool
    requires: str
    slots: int
    updated: int
    held: bool = False
    waits: list[Wait] = field(default_factory=list)
    blocked: bool = False  # by them, or cancelled because of them
    awaited: bool = False
    changed: bool = False  # since its dependents were told
    state: State = State.PENDING
    attempts: int = 0
    runs: int = 0
    cancel: int | None = None
    owner: str | None = None
    token: int | None = None

    def end(self, state: State, now: int) -> None:
        """Moves to a final state, or back to pending."""
        self.state, self.updated = state, now
        self.owner = self.token = self.cancel = None
        self.held = self.blocked = False
        self.changed |= self.awaited and state is not WAITING
        self.ready = state is WAITING and self.run_at <= now


class Queue:
    """All jobs, by row."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.limits: dict[str, int | None] = {}
        self.paused: set[str] = set()
        self._last = 0

    def enqueue(
        self,
        *,
        queue: str,
        priority: int,
        max_retries: int,
        requires: str,
        slots: int,
        run_at: int,
        hold: bool,
        after: list[tuple[str, int]],
        now: int,
    ) -> int:
        self._last += 1  # a removed job's row is never used again
        task = Task(
            *(self._last, queue, priority, max_retries, run_at, run_at <= now and not hold),
            *(requires, slots, now, hold),
        )
        self.tasks[task.seq] = task
        for condition, seq in after:
            task.waits.append(Wait(self.tasks[seq], condition))
            task.waits[-1].status = task.waits[-1].now()
            self.tasks[seq].awaited |= self.tasks[seq].state is not State.COMPLETED
        if after:
            task.blocked, task.ready = True, False
            self._move(task, now)
        return task.seq

    def _tell(self, now: int) -> None:
        """Tells dependents of the ends and retries of jobs, until all know."""
        while changed := [task for task in self.tasks.values() if task.changed]:
            told = []
            for task in changed:
                task.changed = False
            for task in self.tasks.values():
                for wait in task.waits:
                    if wait.on in changed and wait.status not in {"met", wait.now()}:
                        wait.status = wait.now()
                        told.append(task)
            for task in told:
                self._move(task, now)

    def _move(self, task: Task, now: int) -> None:
        """Moves a job as its conditions have it."""
        status = {wait.status for wait in task.waits}
        failed, waits = "failed" in status, "waiting" in status
        stays = failed if task.state in ENDED else waits and not failed
        if not task.blocked or stays:
            return
        state = State.CANCELLED if failed else WAITING
        task.changed |= task.awaited and state is not task.state
        task.state, task.updated, task.ready = state, now, False
        if not failed and not waits:
            task.blocked = False
            task.ready = not task.held and task.run_at <= now
            task.run_at = max(task.run_at, now)

    def promote(self, now: int, limit: int) -> int | None:
        """Promotes due jobs; returns when the next is due."""
        self._tell(now)
        for task in self._waiting()[:limit]:
            if task.run_at <= now:
                task.ready = True
        return min((task.run_at for task in self._waiting()), default=None)

    def _waiting(self) -> list[Task]:
        waiting = [
            t
            for t in self.tasks.values()
            if t.state is WAITING and not (t.ready or t.held or t.blocked)
        ]
        return sorted(waiting, key=lambda t: (t.run_at, t.seq))

    def claim(
        self, owner: str, labels: set[str], token: int, now: int, queues: list[str]
    ) -> Task | None:
        task = next(filter(None, (self._first(queue, labels) for queue in queues)), None)
        if task is None:
            return None
        task.state, task.ready, task.updated = State.PROCESSING, False, now
        task.runs, task.owner, task.token = task.runs + 1, owner, token
        return task

    def _first(self, queue: str, labels: set[str]) -> Task | None:
        """Returns the first ready job of a queue, if the queue has places for it."""
        own = [task for task in self.tasks.values() if task.queue == queue]
        ready = [
            task
            for task in own
            if task.ready and set(filter(None, task.requires.split(","))) <= labels
        ]
        if not ready or queue in self.paused:
            return None
        first = min(ready, key=lambda t: (-t.priority, t.run_at, t.seq))
        limit = self.limits.get(queue)
        if limit is None:
            return first
        used = [min(task.slots, limit) for task in own if task.state is State.PROCESSING]
        return first if limit and sum(used) + min(first.slots, limit) <= limit else None

    def settle(self, seq: int, run: int, token: int, ending: Ending, now: int) -> State | None:
        task = self.tasks.get(seq)
        if task is None or (task.runs, task.token, task.state) != (run, token, State.PROCESSING):
            return None
        asked = task.cancel is not None
        if ending.outcome is Outcome.EXIT and ending.exit_code == 0:
            task.end(State.COMPLETED, now)
        elif ending.outcome is Outcome.CANCELLED:
            task.end(State.CANCELLED, now)
        elif ending.outcome is Outcome.INTERRUPTED:
            task.run_at = min(task.run_at, now)
            task.end(State.CANCELLED if asked else WAITING, now)
        else:
            task.attempts += 1
            if task.attempts >= task.max_retries:
                task.end(State.CANCELLED if asked else State.DEAD, now)
            else:
                task.run_at = now + 1000 * min(2**task.attempts, 3600)
                task.end(State.CANCELLED if asked else WAITING, now)
        return task.state

    def unclaim(self, seq: int, run: int, token: int, now: int) -> bool:
        task = self.tasks.get(seq)
        if task is None or (task.runs, task.token, task.state) != (run, token, State.PROCESSING):
            return False
        if task.cancel is not None:
            return False
        task.runs -= 1
        task.end(WAITING, now)
        task.ready = True
        return True

    def cancel(self, seq: int, now: int) -> State | None:
        task = self.tasks[seq]
        if task.state is WAITING:
            task.end(State.CANCELLED, now)
            return State.CANCELLED
        if task.state is State.PROCESSING:
            task.cancel = now if task.cancel is None else task.cancel
            task.updated = now
            return State.PROCESSING
        return None

    def hold(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        if task.state is not WAITING:
            return False
        task.held, task.ready, task.updated = True, False, now
        return True

    def run_now(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        if task.state is not WAITING or task.held or task.blocked:
            return False
        task.ready, task.updated, task.run_at = True, now, min(task.run_at, now)
        return True

    def release(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        if not task.held or task.state is not WAITING:
            return False
        task.held, task.updated = False, now
        task.ready = not task.blocked and task.run_at <= now
        task.run_at = max(task.run_at, now)
        return True

    def retry(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        if task.state not in {State.DEAD, State.CANCELLED}:
            return False
        task.attempts, task.run_at = 0, now
        task.end(WAITING, now)
        task.changed |= task.awaited
        for wait in task.waits:
            if wait.status != "met":
                wait.status = "waiting" if wait.now() == "waiting" else "met"
        task.blocked = any(wait.status == "waiting" for wait in task.waits)
        task.ready = not task.blocked
        return True

    def running(self, owner: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.owner == owner]

    def shift(self, by: int) -> None:
        """Moves retries along with a clock that was set."""
        for task in self._waiting():
            if task.runs > 0:
                task.run_at += by

    def remove(self, state: State, before: int, queue: str | None = None) -> int:
        """Removes jobs that ended in a state before a time; returns how many."""
        doomed = [
            task.seq
            for task in self.tasks.values()
            if task.state is state and state in ENDED and task.updated < before
            if not task.changed
            if queue in {None, task.queue}
        ]
        for seq in doomed:
            self.forget(seq)
        return len(doomed)

    def forget(self, seq: int) -> None:
        """Removes a job; a job that was cancelled because of it stays so."""
        gone = self.tasks.pop(seq)
        for task in self.tasks.values():
            of_gone = [wait for wait in task.waits if wait.on is gone]
            if task.state is State.CANCELLED and any(w.status == "failed" for w in of_gone):
                task.blocked = task.held = False
            task.waits = [wait for wait in task.waits if wait.on is not gone]
