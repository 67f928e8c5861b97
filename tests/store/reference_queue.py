"""A queue in memory: the life of a job by the README, written as simply as possible.

The database chooses the row of each new job, because it may leave out numbers.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from queued.core.model import Outcome, State
from queued.core.runs import Ending
from tests.store.reference_schedules import Schedules
from tests.store.reference_task import ENDED, WAITING, Task, Wait

RATE_MS = 600_000  # the interval of all rates of queues
KEY_RATE_MS = 3_000  # of all rates of keys


class Queue:
    """All jobs, by row.

    `host_clock`: starts are counted by the clock of the steps, not by one that stands still.
    """

    def __init__(self, *, host_clock: bool) -> None:
        self._host_clock = host_clock
        self.key_window = KEY_RATE_MS if host_clock else math.inf
        self.tasks: dict[int, Task] = {}
        self.schedules = Schedules(self.tasks, self.enqueue, self.cancel)
        self.weights: dict[str, int] = {}
        self.limits: dict[str, int | None] = {}
        self.rates: dict[str, int | None] = {}
        self._starts: dict[str, list[int]] = {}
        self.paused: set[str] = set()
        self.key_starts: dict[str, list[int]] = {}  # of each key with rates: their times
        self._rows = set[int]()  # all that ever were
        self._signals: list[tuple[int, int, str]] = []  # requested: the row, the run, the name

    def enqueue(
        self,
        row: int,
        *,
        queue: str,
        now: int,
        delay: int = 0,
        hold: bool = False,
        unique_for: int | None = None,
        expires_in: int | None = None,
        replace: bool = False,
        after: Sequence[tuple[str, int]] = (),
        **fields: Any,
    ) -> int:
        """Returns `row`, or the row of the job that has the key; then no job is new."""
        unique = fields.get("unique")
        self.free_key(unique, now)
        if unique and replace and (held := self._holder(unique)) and held.state is WAITING:
            held.end(State.CANCELLED, now)
            held.unique_while = None if held.unique_while == "any" else held.unique_while
        if unique and (holder := self._holder(unique)):
            return holder.seq
        assert row not in self._rows, "a removed job's row is never used again"
        self._rows.add(row)
        self.tasks[row] = Task(
            *(row, queue, now + delay, not (delay or hold or fields.get("key")), now, now),
            held=hold,
            unique_until=None if unique_for is None else now + unique_for,
            expires=None if expires_in is None else now + expires_in,
            **fields,
        )
        for condition, seq in after:
            self.tasks[row].waits.append(Wait(self.tasks[seq], condition))
            self.tasks[row].waits[-1].status = self.tasks[row].waits[-1].now()
            self.tasks[seq].awaited |= self.tasks[seq].state is not State.COMPLETED
        if after:
            self.tasks[row].blocked, self.tasks[row].ready = True, False
            self._move(self.tasks[row], now)
        return row

    def free_key(self, unique: str | None, now: int) -> Task | None:
        """Takes a unique key from the job whose time for it is over; returns who still has it."""
        holder = self._holder(unique) if unique else None
        if holder is None or holder.unique_until is None or holder.unique_until > now:
            return holder
        holder.unique_while = None
        return None

    def key_users(self, key: str, now: int) -> set[int]:
        """Returns the jobs of a key that run or are due."""
        return {
            task.seq
            for task in self.of_key(key)
            if task.ready
            or task.in_line
            or task.state is State.PROCESSING
            or (task in self._waiting() and (task.run_at <= max(now, task.created)))
        }

    def rerun(self, seq: int, row: int, now: int) -> None:
        """Adds a job like one that has ended; its unique key must be free."""
        old = self.tasks[seq]
        fields: dict[str, Any] = {"key": old.key, "key_limit": old.key_limit, "rate": old.rate}
        if old.unique:
            fields |= {"unique": old.unique, "unique_while": old.unique_while or "waiting"}
        self.enqueue(
            row,
            queue=old.queue,
            now=now,
            priority=old.priority,
            max_retries=old.max_retries,
            requires=old.requires,
            slots=old.slots,
            **fields,
        )

    def _holder(self, unique: str | None) -> Task | None:
        return next((task for task in self.tasks.values() if task.held_unique == unique), None)

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
        if failed and task.unique_while != "any":
            task.unique_while = None
        if not failed and not waits:
            task.blocked = False
            task.ready = not task.held and task.run_at <= now and task.key is None
            task.run_at = max(task.run_at, now)

    def promote(self, now: int, limit: int) -> int | None:
        """Promotes due jobs; returns when the next is due."""
        self._tell(now)
        for task in self._waiting()[:limit]:
            if task.run_at <= now:
                task.ready, task.in_line = task.key is None, task.key is not None
        for key in {task.key for task in self.tasks.values() if task.in_line}:
            self._give_places(key, now)
        due = [task.run_at for task in self._waiting()]
        return min([*due, *self._key_times(now)], default=None)

    @property
    def arrays(self) -> list[str]:
        """The arrays that have jobs, in the order of their enqueue: their ids are random."""
        arrays = (task.array for task in self.tasks.values() if task.array is not None)
        return list(dict.fromkeys(arrays))

    def first_ready(self, queue: str) -> int | None:
        """Returns the ready job that comes first in its queue."""
        ready = [task for task in self.tasks.values() if task.ready and task.queue == queue]
        return min(ready, key=lambda task: task.order).seq if ready else None

    def of_key(self, key: str | None) -> list[Task]:
        """Returns the jobs of a key in the order of claiming."""
        return sorted((t for t in self.tasks.values() if t.key == key), key=lambda t: t.order)

    def _give_places(self, key: str | None, now: int) -> None:
        """Lets those of the line start that may; ready jobs behind the first one wait again."""
        own = self.of_key(key)
        first = next(task for task in own if task.in_line)
        for task in own:
            if task.ready and task.order > first.order:
                task.ready, task.in_line = False, True
        for task in [task for task in own if task.in_line]:
            used = sum(task.ready or task.state is State.PROCESSING for task in own)
            if used >= task.key_limit or self._rate_allows(task, now) > now:
                return
            task.ready, task.in_line = True, False

    def _rate_allows(self, task: Task, now: int) -> float:
        """Returns when the rate allows the job to start; not before `now`."""
        if task.rate is None:
            return now
        ready = sum(one.ready and one.rate is not None for one in self.of_key(task.key))
        if ready >= task.rate.starts:
            return math.inf
        counted = self.key_starts.get(str(task.key), [])[-(task.rate.starts - ready) :]
        full = len(counted) == task.rate.starts - ready
        return max(now, counted[0] + self.key_window) if full else now

    def started_since(self, key: str, at: float) -> int:
        """Returns how many jobs with a rate have started after a time."""
        return sum(start > at for start in self.key_starts.get(key, []))

    def _key_times(self, now: int) -> list[int]:
        """Returns when rates allow starts, and when the starts of a key are forgotten."""
        times: list[float] = []
        for key, starts in self.key_starts.items():
            times.append(starts[-1] + self.key_window)
            if first := next((task for task in self.of_key(key) if task.in_line), None):
                times.append(self._rate_allows(first, now))
        return [int(time) for time in times if now < time < math.inf]

    def _waiting(self) -> list[Task]:
        waiting = [
            t
            for t in self.tasks.values()
            if t.state is WAITING and not (t.ready or t.held or t.blocked or t.in_line)
        ]
        return sorted(waiting, key=lambda t: (t.run_at, t.seq))

    def claim(
        self, owner: str, labels: set[str], token: int, now: int, queues: list[str]
    ) -> Task | None:
        clock = now if self._host_clock else 0
        task = next(filter(None, (self._first(queue, labels, clock) for queue in queues)), None)
        if task is None:
            return None
        if self.rates.get(task.queue) is not None:
            counted = self._counted_starts(task.queue, clock)
            self._starts[task.queue] = [*counted, max([clock, *counted[-1:]])]
        task.state, task.ready, task.updated = State.PROCESSING, False, now
        task.runs, task.owner, task.token = task.runs + 1, owner, token
        if task.rate is not None:
            self.key_starts.setdefault(str(task.key), []).append(now)
        task.unique_while = None if task.unique_while == "waiting" else task.unique_while
        return task

    def claim_by_weights(
        self, owner: str, labels: set[str], count: int, now: int, queues: Iterable[str]
    ) -> list[Task]:
        """Claims up to so many jobs. The next start is due to the queue with the fewest by weight.

        The caller sets the tokens.
        """
        tags, found = dict.fromkeys(sorted(queues), 0.0), list[Task]()
        while tags and len(found) < count:
            queue = min(tags, key=lambda name: (tags[name], name))
            task = self.claim(owner, labels, 0, now, [queue])
            if task is None:
                del tags[queue]
            else:
                found.append(task)
                tags[queue] += 1 / self.weights.get(queue, 1)
        return found

    def expire(self, now: int) -> set[int]:
        """Ends what was not started in time; returns the rows."""
        late = [
            t for t in self.tasks.values() if t.state is WAITING and (t.expires or now + 1) <= now
        ]
        for task in late:
            task.runs += 1
            task.end(State.DEAD, now)
        return {task.seq for task in late}

    def _counted_starts(self, queue: str, clock: int) -> list[int]:
        return [at for at in self._starts.get(queue, []) if at > clock - RATE_MS]

    def _first(self, queue: str, labels: set[str], clock: int) -> Task | None:
        """Returns the first ready job of a queue, if its limit and its rate allow it."""
        own = [task for task in self.tasks.values() if task.queue == queue]
        ready = [
            task
            for task in own
            if task.ready and set(filter(None, task.requires.split(","))) <= labels
        ]
        if not ready or queue in self.paused:
            return None
        rate = self.rates.get(queue)
        if rate is not None and len(self._counted_starts(queue, clock)) >= rate:
            return None
        first = min(ready, key=lambda t: t.order)
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
        task.ready, task.in_line = task.rate is None, task.rate is not None
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

    def signal(self, seq: int, name: str) -> bool:
        """Requests a signal for the run of a job."""
        task = self.tasks[seq]
        if task.state is State.PROCESSING:
            self._signals.append((seq, task.runs, name))
        return task.state is State.PROCESSING

    def take_signals(self, owner: str, worker: int) -> list[tuple[int, int, int | None, str]]:
        """Takes the requests for the runs of a worker: the row, the run, the token, the name."""
        current = [
            (request, self.tasks[request[0]])
            for request in self._signals
            if (task := self.tasks.get(request[0]))
            and (task.state, task.runs) == (State.PROCESSING, request[1])
        ]
        taken = [
            (seq, run, task.token, name)
            for (seq, run, name), task in current
            if (task.owner, task.worker) == (owner, worker)
        ]
        if taken:  # else requests for runs that are over stay
            self._signals = [
                request for request, task in current if (task.owner, task.worker) != (owner, worker)
            ]
        return taken

    def would_expire(self, seq: int, now: int, delay: int | None) -> bool:
        """Returns whether an edit is refused, because the job would not start in time."""
        task = self.tasks[seq]
        late = task.expires is not None and delay is not None and task.expires <= now + delay
        return late and task.state is WAITING

    def edit(self, seq: int, now: int, *, delay: int | None, **fields: Any) -> bool:
        task = self.tasks[seq]
        if task.state is not WAITING:
            return False
        for name, value in fields.items():
            if value is not None:
                setattr(task, name, value)
        task.run_at = task.run_at if delay is None else now + delay
        waits = task.held or task.blocked or task.key is not None
        task.ready, task.updated = task.run_at <= now and not waits, now
        task.in_line = False
        return True

    def hold(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        if task.state is not WAITING:
            return False
        task.held, task.ready, task.in_line, task.updated = True, False, False, now
        return True

    def run_now(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        if task.state is not WAITING or task.held or task.blocked or task.in_line:
            return False
        task.ready = task.ready or task.key is None
        task.updated, task.run_at = now, min(task.run_at, now)
        return True

    def release(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        if not task.held or task.state is not WAITING:
            return False
        task.held, task.updated = False, now
        task.ready = not task.blocked and task.run_at <= now and task.key is None
        task.run_at = max(task.run_at, now)
        return True

    def retry(self, seq: int, now: int) -> bool:
        task = self.tasks[seq]
        holder = self._holder(task.unique) if task.unique_while else None
        if task.state not in {State.DEAD, State.CANCELLED} or holder not in (None, task):
            return False
        task.attempts, task.run_at = 0, now
        task.expires = None if (task.expires or 0) <= now else task.expires
        task.end(WAITING, now)
        task.changed |= task.awaited
        for wait in task.waits:
            if wait.status != "met":
                wait.status = "waiting" if wait.now() == "waiting" else "met"
        task.blocked = any(wait.status == "waiting" for wait in task.waits)
        task.ready = not task.blocked and task.key is None
        return True

    def running(self, owner: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.owner == owner]

    def shift(self, by: int) -> None:
        """Moves retries and starts along with a clock that was set."""
        self._starts = {queue: [at + by for at in ats] for queue, ats in self._starts.items()}
        self.key_starts = {key: [at + by for at in ats] for key, ats in self.key_starts.items()}
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
