"""Real services under load while a seeded random process kills, stops and restarts all of them.

The seed decides the random choices, but not how the actions interleave with the services, so that
two runs with one seed are similar, but not the same. At the end the queue is left to finish, and
the checker says what was broken.
"""

import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from queued.core import times
from queued.core.arrays import new_jobs
from queued.core.errors import BusyError, ConflictError
from queued.core.model import Label
from queued.store.paths import is_url
from tests.hosts.host import Host
from tests.service import Queue, eventually
from tests.torture import history
from tests.torture.faults import by_kind
from tests.torture.harm import Harm, WeightedHarm
from tests.torture.history import History
from tests.torture.load import (
    QUEUES,
    RATES,
    SIGNAL,
    WARNING,
    WEIGHTS,
    Enqueuer,
    JobRequest,
    JobRequests,
    enqueuer,
)
from tests.torture.log_evidence import logged_results, outliving_processes
from tests.torture.network_harm import LEASE_S, NetworkHarm, ServerHarm
from tests.torture.queue_actions import QueueActions
from tests.torture.schedules import Schedules
from tests.torture.services import TorturedServices
from tests.torture.signal_rules import arrivals
from tests.torture.takeovers import Takeovers
from tests.torture.user_actions import UserActions

_BACKLOG = 60  # jobs that may wait before more are enqueued
_FINISH_S = 600.0
_PAUSE_S = (0.005, 0.08)
_HOST_STARTS = 0.005  # the probability of each step that a host without a service gets one


class Torture:
    """Enqueues jobs, reads their results and harms the services, in the steps of one process."""

    def __init__(
        self, directory: Path, seed: int, url: str = "", hosts: int = 0, lease_s: float = LEASE_S
    ) -> None:
        """`url` is that of an empty queue on a PostgreSQL server, which may be killed.

        Without it the database is an SQLite file. With `hosts`, each service is at one of so many.
        """
        self._lease_s = lease_s
        self.takeovers = Takeovers()
        self._dice = random.Random(seed)
        self.traces = directory / "traces"
        self.traces.mkdir()
        database = directory / "db"
        database.mkdir()
        database.chmod(0o700)
        self.queue = Queue(database, url)
        self._hosts = [Host(directory / f"host{n}", url) for n in range(hosts)]
        for host in self._hosts:
            host.set_clock(0)
        places = [host.queue for host in self._hosts] or [self.queue, *_linked(self.queue)]
        workers = (4,) if hosts else (4, 12)  # with 12 some are spared where processors are few
        self.services = TorturedServices(directory, places, self._dice, workers)
        self.done: Counter[str] = Counter()
        self._harm = Harm(self.services, self._dice, self.done)
        self._network = NetworkHarm(self.services, self._hosts, self._dice, self.done, lease_s)
        self._open_store()
        self._errors = directory / "enqueuers.log"
        # The hosts' clocks are set, and they are those of deadlines.
        self._requests = JobRequests(self.traces, self._dice, deadlines=not hosts)
        self._asked: dict[str, JobRequest] = {}
        self._acknowledged: set[str] = set()
        words = (self.queue, self.traces, self._dice, self.done)
        self._queues = QueueActions(*words, lease_s)
        self.services.suspending = self._queues.suspending
        self._users = UserActions(*words, self._queues.look_at)
        self._schedules = Schedules(*words)
        self._enqueuers: list[Enqueuer] = []
        self._harm.special = self._special_harms(url)

    def _special_harms(self, url: str) -> list[WeightedHarm]:
        words = (url, self.services, self._dice, self.done, self._lease_s)
        server = ServerHarm(*words, meanwhile=self._watch, on_start=self._open_store)
        if self._hosts:
            return [(3 * weight, one) for weight, one in server.harms] + self._network.harms
        harm = self._harm
        return [
            (4, harm.kill_all),
            (2, harm.second_service),
            (1, server.kill) if url else (2, harm.fill_disk),
        ]

    def _open_store(self) -> None:
        """Opens the store again.

        It may wait for a lock that a stopped process holds. While it waits, `_undo_expired`
        resumes the process, and empties a full disk, when the time of either is over.
        """
        self.queue.store.close()
        self.queue.store = self.queue.engine.open_store(None, lambda _s: self._undo_expired())

    def _undo_expired(self, now_s: float | None = None) -> None:
        now_s = time.monotonic() if now_s is None else now_s
        self._harm.undo_expired(now_s)
        self._network.undo_expired(now_s)

    def run(self, seconds: float) -> History:
        """Tortures for `seconds`, lets all jobs end; returns the history."""
        self.queue.configure("kill_grace", "0.3")
        self.queue.configure("lease", str(self._lease_s))  # without hosts it has no meaning
        for name, limit in QUEUES.items():
            weight = WEIGHTS.get(name, 1)
            self.queue.store.queues.change(name, concurrency=limit, weight=weight)
        for name, (starts, rate_ms) in RATES.items():
            self.queue.store.queues.change(name, rate_starts=starts, rate_ms=rate_ms)
        self._start()
        end = time.monotonic() + seconds
        steps = (
            [self._enqueue] * 5
            + [self._users.change_job] * 3
            + [self._harm.once] * (15 if self._hosts else 5)
            + [self._users.signal_run, self._rerun, self._kill_enqueuer]
            + [self._change_many] * 2
        )
        movable = not is_url(self.queue.path)
        moves_at_s = {time.monotonic() + seconds * share for share in (0.3, 0.8) if movable}
        while time.monotonic() < end:
            with suppress(BusyError):  # a service that is stopped may hold a lock
                self._dice.choice(steps)()
            self._maintain()
            if moves_at_s and time.monotonic() > min(moves_at_s):
                moves_at_s.remove(min(moves_at_s))
                self._move_database()
            time.sleep(self._dice.uniform(*_PAUSE_S))
        self._finish()
        return self._history()

    # The load

    def _enqueue(self) -> None:
        if self._waiting() >= _BACKLOG or len(self._enqueuers) >= 3:
            return
        others = sorted(self._acknowledged | self._arrays().keys())
        requests = [self._requests.next(others) for _ in range(self._dice.randint(1, 8))]
        self._asked |= {request.name: request for request in requests}
        if self._dice.random() < 0.5:
            replaces = self._dice.random() < 0.5
            started = enqueuer(self.queue.path, requests, self._errors, replaces=replaces)
            self._enqueuers.append(started)
            return
        jobs = [job for request in requests for job in new_jobs(request.payload)]
        try:
            ids = self.queue.store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())
        except ConflictError:
            self.done["refused by a draining queue"] += 1
        else:
            self._acknowledged |= {*map(str, ids)}

    def _rerun(self) -> None:
        free = self._waiting() < _BACKLOG and len(self._enqueuers) < 3
        if free and (started := self._users.rerun(self._errors)) is not None:
            self._enqueuers.append(started)

    def _arrays(self) -> dict[str, set[str]]:
        """Returns the ids of the jobs of each array that was acknowledged."""
        arrays = [request for request in self._asked.values() if request.indexes]
        return {one.name: one.names for one in arrays if one.names <= self._acknowledged}

    def _waiting(self) -> int:
        counts = self.queue.store.status(now_ms=times.now_ms()).counts
        return counts[Label.PENDING] + counts[Label.PROCESSING]

    def _change_many(self) -> None:
        queues = self._queues
        changes = (
            self._users.cancel_group,
            queues.pause,
            *[queues.suspend] * 2,
            queues.drain,
            self._schedules.change,
        )
        self._dice.choice(changes)()

    def _kill_enqueuer(self) -> None:
        if self._enqueuers:
            self._dice.choice(self._enqueuers).process.kill()
            self.done["SIGKILL enqueuer"] += 1

    def _move_database(self) -> None:
        def ended() -> bool:
            self._undo_expired()  # a service that is stopped may hold the lock that they wait for
            return not self._end_enqueuers()

        eventually(ended, "the enqueuers end")
        self._harm.move_database(self.queue.path)

    # Start, upkeep and end of the services and the enqueuers

    def _start(self, place: Queue | None = None) -> None:
        self.services.start(place)
        self.done["start"] += 1

    def _maintain(self) -> None:
        self._watch()
        self._queues.watch()
        self._queues.resume(time.monotonic())
        self._queues.end_drains(time.monotonic())
        self._end_enqueuers()
        for host in self._hosts:
            if host.queue in self.services.free_places and self._dice.random() < _HOST_STARTS:
                self._network.heal(host)
                self._start(host.queue)
        if not self.services.serving:
            self._undo_expired(math.inf)
            self._start()

    def _watch(self) -> None:
        if self._hosts:
            self.takeovers.look()
        self._undo_expired()

    def _end_enqueuers(self) -> list[Enqueuer]:
        """Collects what ended enqueuers have acknowledged; returns those that still run."""
        for ended in [started for started in self._enqueuers if started.has_ended()]:
            self._enqueuers.remove(ended)
            self._acknowledged |= ended.answered
        return self._enqueuers

    def _finish(self) -> None:
        """Does no more harm; waits until nothing is left to do and all services are gone."""
        self._undo_expired(math.inf)
        self.services.wait_for_evicted()
        self._queues.drain_all()
        eventually(self._is_finished, "the queue finishes", _FINISH_S)
        self._queues.end_drains(math.inf)
        self.services.end()

    def _is_finished(self) -> bool:
        self._maintain()
        self._queues.resume(math.inf)
        self._users.release_all()
        self._users.signal_waiting()
        ended = self._schedules.ended() and not self._queues.suspending() and not self._enqueuers
        return ended and self._waiting() == 0

    # The history

    def _history(self) -> History:
        known = history.read(self.queue.path, self.traces)
        known.acknowledged = self._acknowledged | self._schedules.run
        requests = self._asked.values()
        known.asked = {name for request in requests for name in request.names}
        known.announced = logged_results(one.service for one in self.services.all)
        known.seen = list(self._users.seen.values())
        known.cancelled = self._users.cancelled
        known.retried = self._users.retried
        known.died = self._users.died
        known.keys = self._users.keys
        known.holds = self._users.holds
        known.edits = self._users.edits
        known.pauses = self._queues.pauses
        known.hurried = self._users.hurried
        known.moves = self._users.moves
        known.suspensions = self._queues.suspensions
        known.signals = self._users.signals
        known.signalled = self._users.signalled
        known.reruns = self._users.reruns()
        known.drains = self._queues.drains
        known.passed = self._queues.passed
        known.rates = RATES
        known.schedules = self._schedules.all()
        known.arrays = {one.name: one.names for one in requests if one.indexes}
        known.waits = {
            name: [(how, job) for how, on in one.waits for job in known.arrays.get(on, {on})]
            for one in requests
            for name in one.names
        }
        known.prints = {
            name: printed
            for one in requests
            for name in one.names
            if (printed := one.prints_of(name))
        }
        for one in known.reruns:
            if one.new is not None and one.of.array_id is None and one.of.id in known.prints:
                known.prints[one.new] = known.prints[one.of.id]
        known.alive = outliving_processes(self.traces)
        known.ends = self.services.ends()
        return known

    def close(self) -> None:
        """Kills what still runs."""
        self._undo_expired(math.inf)
        self.services.close()
        for host in self._hosts:
            host.link.close()
        self.queue.close()


def _linked(queue: Queue) -> Iterator[Queue]:
    """Yields the queue at another path, a symbolic link, if it is a file."""
    if is_url(queue.path):
        return
    link = queue.directory.with_name("link.db")
    link.symlink_to(queue.path)
    linked = Queue(queue.directory, str(link))
    linked.services = queue.services  # the names of the logs are numbers
    yield linked


def report(torture: Torture, known: History, broken: list[str]) -> str:
    """Returns a line of JSON: what was done, how the jobs ended, which promises broke."""
    runs = [run for runs in known.attempts.values() for run in runs]
    return json.dumps(
        {
            "jobs": len(known.jobs),
            "acknowledged": len(known.acknowledged),
            "states": known.counts,
            "runs": len(runs),
            "outcomes": Counter(str(run.outcome) for run in runs),
            "faults": by_kind(torture.done),
            "arrived": {name: len(arrivals(known, name)) for name in (SIGNAL, WARNING)},
            "takeovers": torture.takeovers.report(known),
            "done": dict(sorted(torture.done.items())),
            "broken": broken,
        }
    )
