"""The dispatcher: the only database user of the service. One loop, one transaction a turn.

It hands jobs to idle workers, records their results and output, applies settings, and rescues
what a crash left. A worker is told of a thing only after the commit that made it durable. When a
commit fails, the turn's input is kept and the turn is made again.
"""

import math
import signal
import socket
from typing import NamedTuple

from queued.core import times
from queued.core.errors import BusyError, DeniedError, QueuedError, StorageError
from queued.core.model import Instance, Key
from queued.service.dispatcher import job_log
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.clock_shift import ClockShift
from queued.service.dispatcher.commit_backoff import CommitBackoff
from queued.service.dispatcher.contention_monitor import ContentionMonitor
from queued.service.dispatcher.live_settings import LiveSettings, Sources
from queued.service.dispatcher.load_reporter import LoadReporter
from queued.service.dispatcher.output_log import OutputLog
from queued.service.dispatcher.poll_schedule import PollSchedule
from queued.service.dispatcher.pruner import Pruner
from queued.service.dispatcher.rescuer import Rescuer
from queued.service.dispatcher.turn import Turn, TurnRunner
from queued.service.dispatcher.worker_pool import WorkerPool
from queued.service.ipc import channel
from queued.service.ipc.messages import (
    Applied,
    Cancel,
    Describe,
    Drain,
    Fatal,
    Finish,
    Ready,
    Renew,
    Roster,
    StopRequested,
    WorkerGone,
    WorkerStarted,
)
from queued.service.ipc.scoreboard import DISPATCHER, Scoreboard
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.signals import Signals
from queued.service.linux.wall_timer import WallTimer
from queued.service.log import Log
from queued.store import instance_lock
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.dispatcher_store import SqliteLedger

_PASSING = (StorageError, DeniedError, BusyError)


class DatabaseChanges(NamedTuple):
    """What others may have changed in the database."""

    stored: dict[str, str]
    stop_requested: bool
    cancelled: list[Key]
    instances: list[Instance]


class Dispatcher:
    """The loop of the dispatcher process."""

    def __init__(  # noqa: PLR0913 - all that the process stands on
        self,
        *,
        database: str,
        instance: Instance,
        sources: Sources,
        supervisor: socket.socket,
        scoreboard: Scoreboard,
        cgroups: RunCgroups | None,
        log: Log,
    ) -> None:
        self._database = database
        self._scoreboard = scoreboard
        self._cgroups = cgroups
        self._instance = instance
        self._live_settings = LiveSettings(sources, log)
        self._log = log
        self._supervisor = channel.DescriptorChannel(supervisor)
        self._loop = EventLoop()
        self._signals = Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1))
        self._pool = WorkerPool(self._supervisor, self._loop, log)
        self._output_log = OutputLog(log)
        self._wall_timer = WallTimer()
        self._backoff = CommitBackoff(log)
        self._contention = ContentionMonitor(database, log)
        self._ready = self._draining = self._finishing = self._stop_told = self._renewing = False
        self._version: int | None = None

    def run(self) -> int:
        """Works until the supervisor says finish; its exit code."""
        try:
            self._open()
            while True:
                if self._due():
                    self._turn()
                if not self._pending() and self._over():
                    return 0
                self._loop.wait(self._timeout_s())
        except _PASSING as error:
            # The next dispatcher tries again, with growing delay; workers keep their results.
            self._log.error("database.refused", error=str(error), action="tried again")
            return int(error.exit_code)
        except QueuedError as error:
            self._supervisor.send(Fatal(exit_code=int(error.exit_code), reason=str(error)))
            return int(error.exit_code)

    # The start and the end

    def _open(self) -> None:
        self._ledger = SqliteLedger(self._database, BusyHandler(on_wait=self._waited))
        self._runner = TurnRunner(self._ledger, self._instance.id)
        self._load_reporter = LoadReporter(self._ledger, self._supervisor, self._log)
        self._clock = ClockShift(self._ledger, self._log)
        self._pruner = Pruner(self._ledger, self._log)
        self._rescuer = Rescuer(
            self._ledger, self._runner, self._cgroups, self._instance.id, self._log
        )
        self._schedule = PollSchedule(self._database, self._loop, self._log)
        self._loop.add(self._signals.fileno(), self._answer)
        self._loop.add(self._wall_timer.fileno(), self._rung)
        self._loop.add(self._supervisor.fileno(), self._hear)
        with self._ledger.transaction():
            self._ledger.register(self._instance, now_ms=times.now_ms())
            claims = self._ledger.running_claims(self._instance.id)
        self._pool.claims = ClaimTable(claims)
        self._hear()

    def _over(self) -> bool:
        """Whether nothing can come any more; forgets the instance if all of it was recorded."""
        if self._supervisor.closed:
            return not self._pool.present()  # of others it will never be told whether they count
        if self._renewing and not self._finishing:
            self._ledger.close()
            return True
        if not self._finishing:
            return False
        with self._ledger.transaction():
            forgotten = self._ledger.unregister(self._instance.id)
        if forgotten:
            instance_lock.remove(self._instance.lock_path)
        self._ledger.close()
        return True

    # What wakes it

    def _answer(self) -> None:
        """The supervisor asks whether we are well. Whatever else comes is not ours to obey."""
        if signal.SIGUSR1 in self._signals.take():
            self._scoreboard.answer(DISPATCHER)

    def _rung(self) -> None:
        self._wall_timer.take()
        self._schedule.wanted = True

    def _waited(self, waited_s: float) -> None:
        self._answer()  # to wait for others is no hang
        self._contention.waited(waited_s)

    def _hear(self) -> None:
        for message in self._supervisor.receive():
            match message:
                case Roster():
                    self._pool.roster(message.workers)
                case WorkerStarted():
                    self._pool.started(message, self._supervisor.next_descriptor())
                case WorkerGone():
                    self._pool.gone(message)
                case Drain():
                    self._draining = True
                case Finish():
                    self._finishing = True
                case Renew():
                    self._renewing = True
                case Describe():
                    self._schedule.wanted = True
                    self._load_reporter.describe()
        if self._supervisor.closed:
            self._draining = True
            self._loop.remove(self._supervisor.fileno())

    # The loop

    def _pending(self) -> bool:
        return self._schedule.wanted or bool(self._pool.inbox)

    def _due(self) -> bool:
        now_s = times.monotonic_s()
        if (
            self._schedule.due(now_s)
            or self._load_reporter.due(now_s)
            or now_s >= self._pruner.next_s
        ):
            self._schedule.wanted = True
        return self._pending() and now_s >= self._next_turn_s()

    def _next_turn_s(self) -> float:
        return max(self._backoff.next_s, self._pool.group_commit.until_s)

    def _timeout_s(self) -> float | None:
        """Until the next look; None: whatever comes will wake us."""
        self._supervisor.flush_with(self._loop)
        next_s = min(self._schedule.next_s, self._load_reporter.next_s, self._pruner.next_s)
        if self._pending():
            next_s = self._next_turn_s()
        return max(0.0, next_s - times.monotonic_s()) if next_s < math.inf else None

    def _turn(self) -> None:
        """One transaction, and what follows from it."""
        looking, self._schedule.wanted = self._schedule.wanted or self._pool.greeted(), False
        # A turn that only claims need not survive a power cut: its jobs run again in any case.
        durable = bool(self._pool.inbox)
        try:
            with self._ledger.transaction(durable=durable):
                now_ms = times.now_ms()  # others may have had the lock until now
                news = self._news() if looking else None
                if self._clock.check():
                    self._pruner.clock_was_set(times.monotonic_s())
                settings, claiming = self._live_settings.settings, self._claiming()
                turn = self._runner.turn(self._pool, settings, claiming=claiming, now_ms=now_ms)
                counts = self._load_reporter.read(times.monotonic_s())
                self._pruner.keep(settings, now_ms, going=claiming)
        except _PASSING as error:
            self._schedule.wanted = looking
            self._version = None  # what it read of others was not heeded
            self._clock.forget()
            self._backoff.refused(error, times.monotonic_s())
            return
        self._made(turn, now_ms)
        self._load_reporter.tell(turn, counts, times.monotonic_s())
        if news is not None:
            self._heed(news)
        if looking:
            self._schedule.wanted = (
                self._rescuer.rescue(settings) or self._schedule.wanted
            )  # to run it
            self._schedule.at(self._rescuer.next_s)

    def _claiming(self) -> bool:
        return not (self._draining or self._renewing)

    def _news(self) -> DatabaseChanges | None:
        """What others committed since the last look; the write lock is ours, so none is missed."""
        version = self._ledger.version()
        if version == self._version and not self._pool.greeted():
            return None
        self._version = version
        news = DatabaseChanges(
            self._ledger.config(),
            self._ledger.stop_requested(self._instance.id),
            self._ledger.cancel_requests(self._instance.id),
            self._ledger.instances(),
        )
        if self._live_settings.apply(news.stored):
            settings = self._live_settings.settings
            self._supervisor.send(
                Applied(workers=settings.workers, shutdown_grace_s=settings.shutdown_grace)
            )
        return news

    # After the commit

    def _made(self, turn: Turn, now_ms: int) -> None:
        now_s = times.monotonic_s()
        self._pool.on_committed(turn.claims, now_s)
        if not self._ready and self._pool.complete():
            self._ready = True  # said before any run is sent: then notes of runs are kept
            self._supervisor.send(Ready())
        for worker, messages in turn.replies.items():
            self._pool.send(worker, messages)
        self._pruner.made(now_s)
        self._contention.made(self._ledger.backlog_bytes, now_s)
        wakes = [ms for ms in (turn.next_due_ms, self._pruner.next_ms) if ms is not None]
        self._wall_timer.set(None if self._draining else min(wakes, default=None))
        if turn.next_due_ms is not None and turn.next_due_ms <= now_ms:
            self._schedule.wanted = True
        self._schedule.poll(self._live_settings.settings.worker_poll_interval)
        self._backoff.accepted()
        if self._live_settings.settings.log_output:
            self._output_log.tell(turn)
        job_log.tell(self._log, turn)

    def _heed(self, news: DatabaseChanges) -> None:
        self._rescuer.registered = news.instances
        if news.stop_requested and not self._stop_told:
            self._stop_told = True
            self._supervisor.send(StopRequested())
        for claim in self._pool.claims:
            if claim.key in news.cancelled:
                self._pool.send(claim.worker, [Cancel(key=claim.key)])
