"""The dispatcher: the only process of the service that uses the database.

It sends jobs to idle workers, records their results and output, applies settings, and rescues the
claims of dead instances. Each turn of its loop is one transaction. Messages are sent only after the
commit that made their content durable. If a commit fails, the turn is repeated with the same input.
"""

import signal
import socket
import time

from queued.core import times
from queued.core.errors import TRANSIENT, QueuedError
from queued.core.model import Instance
from queued.core.serve_until import ServeUntil
from queued.core.settings_in_force import Settings
from queued.service.dispatcher import job_log, stage
from queued.service.dispatcher.alarm import Alarm
from queued.service.dispatcher.change_reader import ChangeReader, DatabaseChanges
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.clock_shift import ClockShift
from queued.service.dispatcher.commit_backoff import CommitBackoff
from queued.service.dispatcher.contention_monitor import ContentionMonitor
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.dispatcher.end_condition import EndCondition
from queued.service.dispatcher.lease_keeper import LeaseKeeper
from queued.service.dispatcher.live_settings import LiveSettings, SettingsOrigin
from queued.service.dispatcher.load_reporter import LoadReporter
from queued.service.dispatcher.output_log import OutputLog
from queued.service.dispatcher.placement import Placement
from queued.service.dispatcher.poll_schedule import PollSchedule, watch
from queued.service.dispatcher.pruner import Pruner
from queued.service.dispatcher.queue_claims import NO_QUEUES
from queued.service.dispatcher.rescuer import OtherInstances, Rescuer
from queued.service.dispatcher.scheduler import Scheduler
from queued.service.dispatcher.settings_sender import SettingsSender
from queued.service.dispatcher.stage import Event, Stage
from queued.service.dispatcher.turn import TurnRunner
from queued.service.dispatcher.turn_results import Turn
from queued.service.dispatcher.worker_pool import WorkerPool
from queued.service.ipc import channel
from queued.service.ipc.messages import (
    DeathsRecorded,
    Describe,
    Drain,
    Fatal,
    Finish,
    Ready,
    Reload,
    Roster,
    StopRequested,
    WorkerGone,
    WorkerStarted,
)
from queued.service.ipc.scoreboard import DISPATCHER, Scoreboard
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.signals import Signals
from queued.service.log import Log, LogOutput
from queued.store import instance_lock
from queued.store.engine import Engine


class Dispatcher:
    """The loop of the dispatcher process."""

    def __init__(  # noqa: PLR0913 - all that the process needs
        self,
        *,
        engine: Engine,
        instance: Instance,
        lock: int,
        origin: SettingsOrigin,
        settings: Settings,
        supervisor: socket.socket,
        scoreboard: Scoreboard,
        cgroups: RunCgroups | None,
        log_output: LogOutput,
        log: Log,
        until: ServeUntil,
    ) -> None:
        self._engine = engine
        self._scoreboard = scoreboard
        self._cgroups = cgroups
        self._instance = instance
        self._lock = lock
        self._lock_path = instance_lock.path_of(engine.instance_files, instance.id)
        self._origin = origin
        self._settings = settings
        self._log_output = log_output
        self._log = log
        self._supervisor = channel.DescriptorChannel(supervisor)
        self._loop = EventLoop()
        self._signals = Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1))
        self._pool = WorkerPool(self._supervisor, self._loop, log)
        self._output_log = OutputLog(log)
        self._deadlines = Deadlines()
        self._backoff = CommitBackoff(log)
        self._contention = ContentionMonitor(engine, log)
        self._end = EndCondition(until, scoreboard, self._supervisor)
        self._stage = Stage.STARTING

    def run(self) -> int:
        """Makes turns until the supervisor sends Finish; returns the exit code."""
        try:
            self._open()
            while True:
                if times.monotonic_s() >= self._next_turn_s() and not self._renew_idle():
                    self._turn()
                if self._should_exit():
                    self._shut_down()
                    return 0
                self._supervisor.flush_with(self._loop)
                if (sleep_s := self._pool.group_commit.sleep_s(times.monotonic_s())) > 0:
                    time.sleep(sleep_s)  # a few milliseconds
                self._loop.wait(times.left_s(self._next_turn_s()))
        except TRANSIENT as error:
            # The supervisor starts the next dispatcher after a delay; the workers keep results.
            self._log.error("database.refused", error=str(error), action="tried again")
            return int(error.exit_code)
        except QueuedError as error:
            self._supervisor.send(Fatal(exit_code=int(error.exit_code), reason=str(error)))
            return int(error.exit_code)

    # The start and the end

    def _open(self) -> None:
        self._ledger = ledger = self._engine.open_ledger(self._on_busy)
        log = self._log
        self._runner = TurnRunner(ledger, self._instance.id, self._end)
        self._load = LoadReporter(ledger, self._supervisor, self._deadlines, log)
        self._clock = ClockShift(ledger, log)
        self._pruner = Pruner(ledger, log)
        self._scheduler = Scheduler(ledger, self._instance.host, log)
        others = OtherInstances(self._engine.instance_files, self._instance)
        self._lease = LeaseKeeper(ledger, self._instance, self._scoreboard, self._deadlines, log)
        self._changes = ChangeReader(ledger, self._engine, self._instance.id, self._lock)
        self._placement = Placement(ledger, self._instance, self._deadlines, log)
        self._rescuer = Rescuer(ledger, self._runner, self._cgroups, others, log)
        watcher = watch(ledger, log)
        self._schedule = PollSchedule(watcher, self._deadlines)
        self._alarm = Alarm(ledger, self._loop, self._schedule)
        if watcher is not None:
            self._loop.add(watcher.fileno(), self._schedule.on_event)
        self._loop.add(self._signals.fileno(), self._on_ping)
        self._loop.add(self._supervisor.fileno(), self._on_supervisor)
        self._lease.begin()
        with ledger.transaction():
            ledger.register(self._instance, now_ms=ledger.now_ms())
            self._lease.renew(self._settings)
            self._rescuer.unregistered = others.unregistered(ledger.instances())
            claims, stored = ledger.running_claims(self._instance.id), ledger.config()
        self._scheduler.keep_equal(self._origin)
        self._lease.on_committed(times.monotonic_s())
        self._live_settings = live = LiveSettings(self._origin, self._settings, stored, log)
        self._sender = SettingsSender(live, self._log_output, self._pool, self._supervisor)
        self._sender.send()
        self._pool.claims = ClaimTable(claims)
        self._on_supervisor()

    def _should_exit(self) -> bool:
        if self._turn_pending():
            return False
        # Once the supervisor is gone, no message reports dead workers.
        orphaned = self._stage is Stage.ORPHANED and not self._pool.present()
        return orphaned or self._stage is Stage.FINISHING

    def _shut_down(self) -> None:
        """Closes the database; unregisters the instance if none of its workers lives."""
        if self._stage is Stage.FINISHING:
            with self._ledger.transaction():
                gone = self._ledger.unregister(self._instance.id)
            if gone:
                instance_lock.remove(self._lock_path)
        self._ledger.close()

    # Events

    def _on_ping(self) -> None:
        """Answers the watchdog's ping; all other signals are ignored here."""
        if signal.SIGUSR1 in self._signals.drain():
            self._scoreboard.record_answer(DISPATCHER)

    def _on_busy(self, waited_s: float) -> None:
        self._on_ping()  # a dispatcher that waits for the lock must not count as hung
        self._contention.on_wait(waited_s)

    def _on_supervisor(self) -> None:
        for message in self._supervisor.receive():
            match message:
                case Roster():
                    self._pool.on_roster(message.workers)
                case WorkerStarted():
                    self._pool.on_worker_started(message, self._supervisor.next_descriptor())
                case WorkerGone():
                    self._pool.on_worker_gone(message)
                case Drain():
                    self._move(Event.DRAIN)
                case Finish():
                    self._move(Event.FINISH)
                case Reload():
                    # The next turn applies the settings to waiting work.
                    store = self._scheduler.keep_equal
                    self._schedule.requested |= self._sender.reload(message.number, store)
                case Describe():
                    self._schedule.requested = True
                    self._load.describe()
        if self._supervisor.closed:
            self._move(Event.SUPERVISOR_GONE)
            self._loop.remove(self._supervisor.fileno())

    def _move(self, event: Event) -> None:
        """Moves to the stage that follows the event, and reports it to the supervisor."""
        before, self._stage = self._stage, stage.after(self._stage, event)
        if self._stage is not before and self._stage is Stage.SERVING:
            self._supervisor.send(Ready())
        if self._stage is not before and self._stage is Stage.STOPPING:
            self._supervisor.send(StopRequested())

    # The loop

    def _turn_pending(self) -> bool:
        return self._schedule.requested or bool(self._pool.inbox)

    def _next_turn_s(self) -> float:
        """Returns when the next turn is due; `NEVER_S` if only an event makes one due."""
        next_s = 0.0 if self._turn_pending() else self._deadlines.next_s
        return max(next_s, self._backoff.not_before_s, self._pool.group_commit.not_before_s)

    def _renew_idle(self) -> bool:
        """Renews the lease without a turn, if nothing else is due; returns whether it did."""
        busy = self._turn_pending() or self._backoff.refused or any(self._pool.claims)
        if busy:
            return False
        lanes = self._placement.lanes(without=self._runner.full_queues())
        if (found := self._lease.renew_idle(lanes)) is None:
            return False
        self._schedule.requested = not self._rescuer.renewed(found.beats) or found.has_work
        self._rescue(self._live_settings.settings)
        return True

    def _turn(self) -> None:
        """Makes one transaction, and sends its consequences after the commit."""
        reread = self._pool.has_greeting()
        if renewing := self._deadlines.due("renewal", times.monotonic_s()):
            self._lease.begin()
        reading = reread or renewing or self._schedule.is_due(times.monotonic_s())
        self._schedule.requested = False
        # After a power cut claimed jobs run again, so a turn that only claims need not be durable.
        durable, deaths = bool(self._pool.inbox) or renewing, self._pool.deaths()
        try:
            with self._ledger.transaction(durable=durable):
                now_ms = self._ledger.now_ms()  # after the wait for the write lock
                if restoring := self._lease.renew(self._live_settings.settings):
                    self._placement.reset()
                    reading = reread = True  # another server may have answered
                changes = self._read_changes(now_ms, reread=reread) if reading else None
                while self._clock.shift_if_set():  # again after it: the time was read later
                    self._pruner.clock_was_set(times.monotonic_s())
                    now_ms = self._ledger.now_ms()
                settings = self._live_settings.settings
                queues = self._placement.queues if self._may_claim() else NO_QUEUES
                turn = self._runner.turn(
                    self._pool, settings, queues=queues, restoring=restoring, now_ms=now_ms
                )
                counts = self._load.read_counts(times.monotonic_s())
                self._pruner.prune_step(settings, now_ms, enabled=self._may_claim())
        except TRANSIENT as error:
            self._schedule.requested = reading
            self._runner.on_rollback(error)
            self._lease.on_rollback(error, times.monotonic_s())
            for part in (self._changes, self._scheduler, self._clock):
                part.on_rollback()
            self._backoff.on_refused(error, times.monotonic_s())
            return
        self._end.on_committed(turn)
        if deaths:
            self._supervisor.send(DeathsRecorded(number=deaths))
        self._on_committed(turn)
        self._load.on_committed(turn, counts, times.monotonic_s())
        if changes is not None:
            self._apply_changes(changes)
        if reading:
            self._rescue(settings)
        looked = self._may_claim() and not self._turn_pending() and bool(self._pool.present())
        if self._end.ends_after(turn, looked=looked and not turn.is_due_soon()):
            self._move(Event.DRAIN)

    def _may_claim(self) -> bool:
        """Returns whether this service may start jobs, if there are some for it."""
        return self._stage.claims and self._lease.may_claim and not self._rescuer.unregistered

    def _read_changes(self, now_ms: int, *, reread: bool) -> DatabaseChanges | None:
        made = self._scheduler.fire(self._live_settings.settings, now_ms, enabled=self._may_claim())
        workers = self._pool.present()
        changes = self._changes.read(even_if_unchanged=reread or made, workers=workers)
        if changes is not None:
            self._sender.changed |= self._live_settings.apply(changes.stored)
            self._scheduler.read(now_ms)
        self._placement.read(self._live_settings.settings, changed=changes is not None)
        return changes

    # After the commit

    def _on_committed(self, turn: Turn) -> None:
        now_s = times.monotonic_s()
        self._pool.on_committed(turn.claims, now_s)
        if self._pool.has_workers():
            self._move(Event.WORKER_CONNECTED)  # Ready precedes any run: it keeps the lock file
        for worker, messages in turn.replies.items():
            self._pool.send(worker, messages)
        self._runner.on_committed()
        self._lease.on_committed(now_s)
        self._clock.on_committed()
        self._schedule.requested |= self._scheduler.on_committed(turn.finished)
        self._pruner.on_committed(now_s)
        self._deadlines.set("prune", self._pruner.next_s)
        self._contention.on_committed(self._ledger, now_s)
        self._schedule.requested |= self._placement.on_committed(lanes_made=turn.lanes_made)
        self._set_alarm(turn)
        self._backoff.on_committed()
        self._output_log.log_turn(turn)
        job_log.log_turn(self._log, turn)

    def _set_alarm(self, turn: Turn) -> None:
        if turn.next_due_ms is not None and turn.next_due_ms <= turn.now_ms:
            self._schedule.requested = True
        due_ms = (turn.next_due_ms, self._pruner.next_ms, self._scheduler.next_ms)
        self._alarm.set(due_ms if self._stage.claims else ())

    def _apply_changes(self, changes: DatabaseChanges) -> None:
        self._rescuer.registered = changes.instances
        if self._sender.changed:
            self._sender.send()
        if changes.stop_requested:
            self._move(Event.STOP_REQUESTED)
        self._pool.cancel(changes.cancelled)
        self._pool.signal(changes.signals)
        self._pool.suspend(self._placement.suspended)

    def _rescue(self, settings: Settings) -> None:
        try:
            if self._rescuer.rescue(settings):
                self._schedule.requested = True  # the rescued jobs may be ready
        except TRANSIENT as error:
            self._schedule.requested = True
            self._backoff.on_refused(error, times.monotonic_s())
        self._deadlines.set("rescue", self._rescuer.next_s)
        self._schedule.on_read(settings.worker_poll_interval, times.monotonic_s())
