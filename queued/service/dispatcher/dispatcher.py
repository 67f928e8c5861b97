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
from queued.service.dispatcher.claims import Hands
from queued.service.dispatcher.clock_shift import Clock
from queued.service.dispatcher.commit_backoff import Refusals
from queued.service.dispatcher.contention_monitor import Holders
from queued.service.dispatcher.live_settings import Sources, Tuning
from queued.service.dispatcher.load_reporter import Gauge
from queued.service.dispatcher.output_log import Printed
from queued.service.dispatcher.poll_schedule import Looks
from queued.service.dispatcher.pruner import Retention
from queued.service.dispatcher.rescuer import Rescuer
from queued.service.dispatcher.turn import Clerk, Turn
from queued.service.dispatcher.worker_pool import Crew
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
from queued.service.ipc.scoreboard import DISPATCHER, Board
from queued.service.linux.cgroup import Groups
from queued.service.linux.event_loop import Wake
from queued.service.linux.signals import Signals
from queued.service.linux.wall_timer import WallAlarm
from queued.service.log import Log
from queued.store import instance_lock
from queued.store.sqlite.busy_handler import Patience
from queued.store.sqlite.dispatcher_store import SqliteLedger

_PASSING = (StorageError, DeniedError, BusyError)


class News(NamedTuple):
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
        listener: socket.socket,
        board: Board,
        groups: Groups | None,
        log: Log,
    ) -> None:
        self._database = database
        self._board = board
        self._groups = groups
        self._instance = instance
        self._tuning = Tuning(sources, log)
        self._log = log
        self._supervisor = channel.Channel(supervisor)
        self._wake = Wake()
        self._signals = Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1))
        self._crew = Crew(listener, self._wake, log)
        self._printed = Printed(log)
        self._alarm = WallAlarm()
        self._refusals = Refusals(log)
        self._holders = Holders(database, log)
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
                if not self._wake.nap(self._crew.gather.nap_s(times.monotonic_s())):
                    self._wake.wait(self._timeout_s())
        except _PASSING as error:
            # The next dispatcher tries again, with growing delay; workers keep their results.
            self._log.error("database.refused", error=str(error), action="tried again")
            return int(error.exit_code)
        except QueuedError as error:
            self._supervisor.send(Fatal(exit_code=int(error.exit_code), reason=str(error)))
            return int(error.exit_code)

    # The start and the end

    def _open(self) -> None:
        self._ledger = SqliteLedger(self._database, Patience(on_wait=self._waited))
        self._clerk = Clerk(self._ledger, self._instance.id)
        self._gauge = Gauge(self._ledger, self._supervisor, self._log)
        self._clock = Clock(self._ledger, self._log)
        self._retention = Retention(self._ledger, self._log)
        self._rescuer = Rescuer(
            self._ledger, self._clerk, self._groups, self._instance.id, self._log
        )
        self._looks = Looks(self._database, self._wake, self._log)
        self._wake.add(self._signals.fileno(), self._answer, urgent=True)
        self._wake.add(self._alarm.fileno(), self._rung)
        self._wake.add(self._supervisor.fileno(), self._hear, urgent=True)
        with self._ledger.transaction():
            self._ledger.register(self._instance, now_ms=times.now_ms())
            claims = self._ledger.running_claims(self._instance.id)
        self._crew.hands = Hands(claims)
        self._hear()

    def _over(self) -> bool:
        """Whether nothing can come any more; forgets the instance if all of it was recorded."""
        if self._supervisor.closed:
            return not self._crew.present()  # of others it will never be told whether they count
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
            self._board.answer(DISPATCHER)

    def _rung(self) -> None:
        self._alarm.take()
        self._looks.wanted = True

    def _waited(self, waited_s: float) -> None:
        self._answer()  # to wait for others is no hang
        self._holders.waited(waited_s)

    def _hear(self) -> None:
        for message in self._supervisor.receive():
            match message:
                case Roster():
                    self._crew.roster(message.workers)
                case WorkerStarted():
                    self._crew.started(message)
                case WorkerGone():
                    self._crew.gone(message)
                case Drain():
                    self._draining = True
                case Finish():
                    self._finishing = True
                case Renew():
                    self._renewing = True
                case Describe():
                    self._looks.wanted = True
                    self._gauge.describe()
        if self._supervisor.closed:
            self._draining = True
            self._wake.remove(self._supervisor.fileno())

    # The loop

    def _pending(self) -> bool:
        return self._looks.wanted or bool(self._crew.inbox)

    def _due(self) -> bool:
        now_s = times.monotonic_s()
        if self._looks.due(now_s) or self._gauge.due(now_s) or now_s >= self._retention.next_s:
            self._looks.wanted = True
        return self._pending() and now_s >= self._next_turn_s()

    def _next_turn_s(self) -> float:
        return max(self._refusals.next_s, self._crew.gather.until_s)

    def _timeout_s(self) -> float | None:
        """Until the next look; None: whatever comes will wake us."""
        self._supervisor.flush_with(self._wake)
        next_s = min(self._looks.next_s, self._gauge.next_s, self._retention.next_s)
        if self._pending():
            next_s = self._next_turn_s()
        return max(0.0, next_s - times.monotonic_s()) if next_s < math.inf else None

    def _turn(self) -> None:
        """One transaction, and what follows from it."""
        looking, self._looks.wanted = self._looks.wanted or self._crew.greeted(), False
        # A turn that only claims need not survive a power cut: its jobs run again in any case.
        durable = bool(self._crew.inbox)
        try:
            with self._ledger.transaction(durable=durable):
                now_ms = times.now_ms()  # others may have had the lock until now
                news = self._news() if looking else None
                if self._clock.check():
                    self._retention.clock_was_set(times.monotonic_s())
                settings, claiming = self._tuning.settings, self._claiming()
                turn = self._clerk.turn(self._crew, settings, claiming=claiming, now_ms=now_ms)
                counts = self._gauge.read(times.monotonic_s())
                self._retention.keep(settings, now_ms, going=claiming)
        except _PASSING as error:
            self._looks.wanted = looking
            self._version = None  # what it read of others was not heeded
            self._clock.forget()
            self._refusals.refused(error, times.monotonic_s())
            return
        self._made(turn, now_ms)
        self._gauge.tell(turn, counts, times.monotonic_s())
        if news is not None:
            self._heed(news)
        if looking:
            self._looks.wanted = self._rescuer.rescue(settings) or self._looks.wanted  # to run it
            self._looks.at(self._rescuer.next_s)

    def _claiming(self) -> bool:
        return not (self._draining or self._renewing)

    def _news(self) -> News | None:
        """What others committed since the last look; the write lock is ours, so none is missed."""
        version = self._ledger.version()
        if version == self._version and not self._crew.greeted():
            return None
        self._version = version
        news = News(
            self._ledger.config(),
            self._ledger.stop_requested(self._instance.id),
            self._ledger.cancel_requests(self._instance.id),
            self._ledger.instances(),
        )
        if self._tuning.apply(news.stored):
            settings = self._tuning.settings
            self._supervisor.send(
                Applied(workers=settings.workers, shutdown_grace_s=settings.shutdown_grace)
            )
        return news

    # After the commit

    def _made(self, turn: Turn, now_ms: int) -> None:
        now_s = times.monotonic_s()
        self._crew.made(turn.hands, turn.ages_s(now_ms), now_s, dry=turn.dry)
        if not self._ready and self._crew.complete():
            self._ready = True  # said before any run is sent: then notes of runs are kept
            self._supervisor.send(Ready())
        for worker, messages in turn.replies.items():
            self._crew.send(worker, messages)
        self._retention.made(now_s)
        self._holders.made(self._ledger.backlog_bytes, now_s)
        wakes = [ms for ms in (turn.next_due_ms, self._retention.next_ms) if ms is not None]
        self._alarm.set(None if self._draining else min(wakes, default=None))
        if turn.next_due_ms is not None and turn.next_due_ms <= now_ms:
            self._looks.wanted = True
        self._looks.by_s = self._crew.next_s
        self._looks.poll(self._tuning.settings.worker_poll_interval)
        self._refusals.accepted()
        if self._tuning.settings.log_output:
            self._printed.tell(turn)
        job_log.tell(self._log, turn)

    def _heed(self, news: News) -> None:
        self._rescuer.registered = news.instances
        if news.stop_requested and not self._stop_told:
            self._stop_told = True
            self._supervisor.send(StopRequested())
        for claim in self._crew.hands:
            if claim.key in news.cancelled:
                self._crew.send(claim.worker, [Cancel(key=claim.key)])
