"""A real service under load while a seeded random process kills, stops and restarts all of it.

The dice decide what is done, and the machine when: a seed gives the same pressure again, not the
same run. At the end the queue is left to finish, and the checker says what was broken.
"""

import contextlib
import json
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from queued.core import times
from queued.core.errors import ConflictError
from queued.core.job_spec import new_job
from queued.core.model import JobFilter, Label, State
from queued.service.linux import procfs, run_mark
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from tests.service import Queue, Service, eventually
from tests.torture import history
from tests.torture.history import History, Witness
from tests.torture.load import Enqueuer, Order, Orders, enqueuer
from tests.torture.log_evidence import announced, outlived

_BACKLOG = 60  # jobs that may wait before more are enqueued
_FINISH_S = 120.0
_PAUSE_S = (0.005, 0.08)


class Torture:
    """Everything that goes on, step by step, in one process."""

    def __init__(
        self, directory: Path, seed: int, program: tuple[str, ...] = ("-m", "queued")
    ) -> None:
        self._dice = random.Random(seed)
        self._program = program
        self.traces = directory / "traces"
        self.traces.mkdir()
        database = directory / "db"
        database.mkdir()
        database.chmod(0o700)
        self.queue = Queue(database)
        self.queue.store.close()
        # Whom we stopped may hold the lock that we wait for.
        patience = BusyHandler(on_wait=lambda _waited_s: self._go_on(time.monotonic()))
        self.queue.store = SqliteStore(self.queue.path, patience)
        self.done: Counter[str] = Counter()
        self._errors = directory / "enqueuers.log"
        self._orders = Orders(self.traces, self._dice)
        self._asked: dict[str, Order] = {}
        self._acknowledged: set[str] = set()
        self._cancelled: set[str] = set()
        self._retried: dict[str, list[int]] = {}
        self._seen: dict[tuple[str, int], Witness] = {}
        self._enqueuers: list[Enqueuer] = []
        self._stopped: list[tuple[float, int]] = []  # until when, and whom

    def run(self, seconds: float) -> History:
        """Tortures for so long, lets the queue finish; what is known then."""
        self.queue.store.config_set("kill_grace", "0.3", now_ms=times.now_ms())
        self._start()
        end = time.monotonic() + seconds
        steps = [self._enqueue] * 4 + [self._move] * 2 + [self._harm] * 4
        while time.monotonic() < end:
            self._dice.choice(steps)()
            self._look_after()
            time.sleep(self._dice.uniform(*_PAUSE_S))
        self._finish()
        return self._history()

    # The load

    def _enqueue(self) -> None:
        if self._waiting() >= _BACKLOG or len(self._enqueuers) >= 3:
            return
        orders = [self._orders.next() for _ in range(self._dice.randint(1, 8))]
        self._asked |= {order.name: order for order in orders}
        if self._dice.random() < 0.5:
            self._enqueuers.append(enqueuer(self.queue.path, orders, self._errors))
            return
        jobs = [new_job(order.payload) for order in orders]
        self.queue.store.enqueue(jobs, max_retries=3, now_ms=times.now_ms())
        self._acknowledged |= {order.name for order in orders}

    def _waiting(self) -> int:
        counts = self.queue.store.status(now_ms=times.now_ms()).counts
        return counts[Label.PENDING] + counts[Label.PROCESSING]

    def _move(self) -> None:
        """Somebody cancels a job or gives a dead one its full budget; a reader looks at it."""
        jobs = list(self.queue.store.list(JobFilter(reverse=True), limit=80))
        if not jobs:
            return
        job = self._dice.choice(jobs)
        self._read(job.id, job.seq)
        now_ms = times.now_ms()
        if job.state in (State.DEAD, State.CANCELLED) and job.runs < 12:
            with contextlib.suppress(ConflictError):
                self.queue.store.retry([job.seq], now_ms=now_ms)
                self._retried.setdefault(job.id, []).append(job.runs)
                self.done["retry"] += 1
        elif self._dice.random() < 0.2 and self.queue.store.cancel(job.seq, now_ms=now_ms):
            self._cancelled.add(job.id)
            self.done["cancel"] += 1

    def _read(self, name: str, row: int) -> None:
        for run in self.queue.store.attempts(row):
            if run.ended_ms is not None:
                seen = Witness(
                    job=name,
                    attempt=run.number,
                    outcome=str(run.outcome),
                    exit_code=run.exit_code,
                    signal=run.signal,
                )
                self._seen.setdefault((name, run.number), seen)

    # The harm

    def _harm(self) -> None:
        serving = self._serving()
        if not serving:
            return
        service = self._dice.choice(serving)
        harms: list[tuple[int, Callable[[Service], None]]] = [
            (8, self._harm_command),
            (6, self._harm_worker),
            (6, self._harm_dispatcher),
            (2, self._harm_supervisor),
            (2, self._kill_all),
            (1, self._stop_all),
            (4, self._kill_enqueuer),
            (1, self._second_service),
        ]
        weights, choices = zip(*harms, strict=True)
        self._dice.choices(choices, weights)[0](service)

    def _harm_command(self, service: Service) -> None:
        workers = {pid for _, pid in self._children(service)}
        marked = {found.process.pid for found in run_mark.marked_processes(service.instance)}
        found = sorted(marked - workers)
        self._harm_one("command", found, (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP))

    def _harm_worker(self, service: Service) -> None:
        workers = [pid for slot, pid in self._children(service) if slot > 0]
        numbers = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGQUIT)
        self._harm_one("worker", workers, numbers)

    def _harm_dispatcher(self, service: Service) -> None:
        found = [pid for slot, pid in self._children(service) if slot == 0]
        numbers = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
        self._harm_one("dispatcher", found, numbers)

    def _harm_supervisor(self, service: Service) -> None:
        numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGHUP)
        self._harm_one("supervisor", [service.pid], numbers)

    def _harm_one(self, who: str, pids: list[int], numbers: tuple[signal.Signals, ...]) -> None:
        if not pids:
            return
        pid, number = self._dice.choice(pids), self._dice.choice(numbers)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            self.done[f"{number.name} {who}"] += 1
        if number is signal.SIGSTOP:
            self._stopped.append((time.monotonic() + self._dice.uniform(0.01, 1.5), pid))

    def _kill_all(self, service: Service) -> None:
        """Supervisor, dispatcher and workers at once, and no command."""
        service.kill_everything()
        self.done["SIGKILL instance"] += 1

    def _stop_all(self, service: Service) -> None:
        until = time.monotonic() + self._dice.uniform(0.5, 2)
        for pid in [service.pid, *(pid for _, pid in self._children(service))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped.append((until, pid))
        self.done["SIGSTOP instance"] += 1

    def _kill_enqueuer(self, _service: Service) -> None:
        if self._enqueuers:
            self._dice.choice(self._enqueuers).process.kill()
            self.done["SIGKILL enqueuer"] += 1

    def _second_service(self, _service: Service) -> None:
        if len(self._serving()) < 2:
            self._start()

    @staticmethod
    def _children(service: Service) -> list[tuple[int, int]]:
        """The living children of a service, by slot."""
        started = service.logged("child.started")
        living = {process.pid for process in procfs.descendants(service.pid)}
        pids = {int(line["child_pid"]): int(line["slot"]) for line in started}
        return [(slot, pid) for pid, slot in pids.items() if pid in living]

    # What keeps it going

    def _serving(self) -> list[Service]:
        return [service for service in self.queue.services if service.process.poll() is None]

    def _start(self) -> None:
        workers = self._dice.choice((4, 12))  # with 12 some are spared where processors are few
        service = self.queue.spawn(workers=workers, program=self._program)
        eventually(
            lambda: service.logged("service.started") or service.process.poll() is not None,
            "service.started",
        )
        self.done["start"] += 1

    def _look_after(self) -> None:
        self._go_on(time.monotonic())
        for done in [one for one in self._enqueuers if one.over()]:
            self._enqueuers.remove(done)
            self._acknowledged |= done.answered
        if not self._serving():
            self._start()

    def _go_on(self, until: float) -> None:
        """Whoever was stopped until this time goes on."""
        for stopped in [stopped for stopped in self._stopped if stopped[0] <= until]:
            self._stopped.remove(stopped)
            with contextlib.suppress(ProcessLookupError):
                os.kill(stopped[1], signal.SIGCONT)

    def _finish(self) -> None:
        """Harms no more; waits until nothing is left to do and all who served are gone."""
        self._go_on(math.inf)
        eventually(self._settled, "the queue finishes", _FINISH_S)
        for service in self._serving():
            service.process.send_signal(signal.SIGTERM)
        for service in self.queue.services:
            service.ended(60)
        eventually(
            lambda: not [one for service in self.queue.services for one in service.own()],
            "all of the services are gone",
            60,
        )

    def _settled(self) -> bool:
        self._look_after()
        return not self._enqueuers and self._waiting() == 0

    # What is known

    def _history(self) -> History:
        known = history.read(self.queue.path, self.traces)
        known.acknowledged = self._acknowledged
        known.asked = set(self._asked)
        known.announced = announced(self.queue.services)
        known.seen = list(self._seen.values())
        known.cancelled = self._cancelled
        known.retried = self._retried
        known.prints = {order.name: order.prints for order in self._asked.values() if order.prints}
        known.alive = outlived(self.traces)
        return known


def report(torture: Torture, known: History, broken: list[str]) -> str:
    """One line of JSON: what was done, how the jobs ended, what was broken."""
    runs = [run for runs in known.attempts.values() for run in runs]
    return json.dumps(
        {
            "jobs": len(known.jobs),
            "acknowledged": len(known.acknowledged),
            "states": known.counts,
            "runs": len(runs),
            "outcomes": Counter(str(run.outcome) for run in runs),
            "signals": sum(n for what, n in torture.done.items() if what.startswith("SIG")),
            "done": dict(sorted(torture.done.items())),
            "broken": broken,
        }
    )
