"""A worker: receives a claim, runs its command, reports how it ended. It knows no database.

It keeps a result until a dispatcher has recorded it, and meanwhile begins the next run if it was
sent one ahead of time.
SIGTERM: finish the run and exit. SIGQUIT: stop the run and exit; the same if the supervisor is gone
(its end of the lifeline is closed). SIGUSR1: record the time as a sign of life.
"""

import os
import signal
import socket
from functools import partial

from queued.core import times
from queued.core.model import Outcome
from queued.core.runs import Key
from queued.service.ipc import channel
from queued.service.ipc.messages import (
    Cancel,
    Input,
    LogSettings,
    Message,
    Recorded,
    Returned,
    Run,
    Signal,
    Stored,
    Suspend,
    Welcome,
)
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.linux import descriptors, limits, oom_score, procfs
from queued.service.linux.cgroup import RunCgroups
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.signals import ChildExits, Signals
from queued.service.log import Log, LogOutput
from queued.service.worker import spawn
from queued.service.worker.deadline_alarm import DeadlineAlarm
from queued.service.worker.execution import Execution, Phase
from queued.service.worker.lease_end import LeaseEnd
from queued.service.worker.outbox import Outbox, report
from queued.service.worker.output_forwarder import OutputForwarder
from queued.service.worker.prefetch import PrefetchQueue
from queued.service.worker.run_warnings import RunWarnings
from queued.service.worker.stage import MOVES, Event, Stage

_SIGNALS = (
    signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
)  # fmt: skip
_REFUSED_S = 10.0  # after which a command that cannot be started is left to another worker
_FORWARD_AFTER_S = 0.01  # the output of a command that ends sooner is read only at its end


class Worker:
    """The loop of one worker process."""

    def __init__(  # noqa: PLR0913  all that it is made from, by name
        self,
        *,
        number: int,
        instance: str,
        dispatcher: socket.socket,
        lifeline: int,
        scoreboard: Scoreboard,
        cgroups: RunCgroups | None,
        runs_lock: int | None,
        log_output: LogOutput,
        log: Log,
    ) -> None:
        self._number = number
        self._lifeline = lifeline
        self._scoreboard = scoreboard
        self._cgroups = cgroups
        note = scoreboard.run_notes.note(number)
        self._execute = partial(Execution, note=note, runs_lock=runs_lock)
        self._log_output = log_output
        self._log = log
        self._warnings = RunWarnings(log)
        self._base = spawn.inheritable(os.environb, instance)
        self._limits = limits.Limits()
        self._oom_score = oom_score.OomScore()
        self._loop = EventLoop()
        self._signals = Signals(_SIGNALS)
        self._child_exits = ChildExits()
        self._channel = channel.Channel(dispatcher)
        self._send = self._channel.send
        self._execution: Execution | None = None
        self._forward_at_s = times.NEVER_S  # when the output of the run is read the first time
        self._forwarder: OutputForwarder | None = None  # from then on
        self._prefetch = PrefetchQueue()
        self._outbox = Outbox()
        self._lease_end = LeaseEnd(scoreboard, self._loop, lambda: self._execution)
        self._deadline_alarm = DeadlineAlarm(self._loop, lambda: self._execution)
        self._stage = Stage.WORKING

    def run(self) -> int:
        """Works until it must exit. Returns the exit code: 0 if all its results are recorded."""
        self._scoreboard.record_pid(self._number, os.getpid())
        os.setsid()  # so that signals from a terminal do not reach a command during its start
        procfs.become_subreaper()
        descriptors.close_on_exec()
        self._loop.add(self._signals.fileno(), self._handle_signals)
        self._loop.add_hang_up(self._lifeline, partial(self._enter, Event.ABANDONED))
        self._loop.add(self._child_exits.fileno(), self._reap)
        self._loop.add(self._channel.fileno(), self._receive)
        while True:
            self._advance()
            if not self._stage.takes_runs and not (self._execution or self._outbox.results):
                return 0
            if self._channel.closed and self._execution is None:
                return 1  # no dispatcher records the result; the next service rescues the job
            if self._forward_at_s < times.NEVER_S and self._execution is not None:
                self._wait_young(self._execution)
            else:
                self._loop.wait(self._timeout_s())

    def _wait_young(self, execution: Execution) -> None:
        """Waits only for the end of the command, which may come at once, and for signals.

        Messages wait meanwhile, so that they do not wake this process beside the command.
        """
        if not self._signals.arrived and self._child_exits.wait(self._timeout_s() or 0.0):
            execution.reap(times.monotonic_s())
        if self._signals.arrived:
            self._handle_signals()

    # Events

    def _handle_signals(self) -> None:
        for number in self._signals.drain():
            if number == signal.SIGTERM:
                self._enter(Event.DISMISSED)
            elif number == signal.SIGQUIT and self._scoreboard.stopping:
                self._enter(Event.STOPPED)
            elif number == signal.SIGUSR1:
                self._scoreboard.record_answer(self._number)
        self._reap()

    def _reap(self) -> None:
        self._child_exits.drain()
        if self._execution is not None:
            self._execution.reap(times.monotonic_s())
        else:
            procfs.reap_all()  # processes that a job left on purpose, before this worker exits

    def _enter(self, event: Event) -> None:
        """Moves to the next stage, and does what it asks for."""
        before, self._stage = self._stage, MOVES[self._stage, event]
        if self._stage is before:
            return
        if self._stage is Stage.ORPHANED:
            self._loop.remove(self._lifeline)
            self._log.warning("worker.orphaned", action="ends its command and exits")
        self._give_back(self._prefetch.keys())
        if self._execution is not None and self._stage.ends_run:
            # Lost runs count, because the run may have killed the supervisor.
            outcome = Outcome.INTERRUPTED if self._scoreboard.draining else Outcome.LOST
            self._execution.stop(outcome, times.monotonic_s())

    def _receive(self) -> None:
        for message in self._channel.receive():
            self._handle(message)
        if self._channel.closed:
            self._loop.remove(self._channel.fileno())
            self._enter(Event.ABANDONED)  # the supervisor will start no other dispatcher

    def _handle(self, message: Message) -> None:
        match message:
            case Run() | Input():
                self._accept(message)
            case Welcome():
                self._answer_welcome(message)
            case Recorded(accepted=True):
                self._outbox.drop_recorded([message.key])
            case Recorded():
                self._drop_lost(message.key)
            case Stored() if (execution := self._running(message.key)) is not None:
                execution.output.stored(message.stream, message.end)
            case Cancel() | Signal() | Suspend():
                self._change_run(message)
            case LogSettings():
                self._log_output.configure(message.level, message.style, message.max_file_bytes)
            case _:
                self._log.debug("worker.message_ignored", message=type(message).__name__)

    def _change_run(self, message: Cancel | Signal | Suspend) -> None:
        """Changes the current run, or gives back a claim that has not begun and must not begin."""
        execution, now_s = self._running(message.key), times.monotonic_s()
        if execution is None:
            if isinstance(message, Cancel) or (isinstance(message, Suspend) and message.wanted):
                self._give_back([message.key])
            return
        match message:
            case Cancel():
                execution.stop(Outcome.CANCELLED, now_s)
            case Signal():
                execution.signal(message.name)
            case Suspend(wanted=True) if execution.phase is Phase.STARTING:
                self._give_back_current(execution, now_s)
            case Suspend():
                execution.suspend(now_s, wanted=message.wanted)

    def _running(self, key: Key) -> Execution | None:
        """Returns the run of that claim, if it is the current one."""
        found = self._execution
        return found if found is not None and found.run.key == key else None

    # The dispatcher

    def _answer_welcome(self, welcome: Welcome) -> None:
        """Sends a new dispatcher the claims that are held, and all that may not be durable."""
        running = [] if self._execution is None else [self._execution]
        self._prefetch.forget_incomplete()
        self._send(self._outbox.hello(welcome.session, running, self._prefetch.held()))
        for execution in running:
            execution.output.rewind()
        self._outbox.resend(self._send)

    # One run

    def _accept(self, run: Run | Input) -> None:
        """Begins a run, or queues it until the current one is over; keeps the input before it."""
        if isinstance(run, Input):
            self._prefetch.add_input(run)
            return
        if run.recorded:
            self._outbox.drop_recorded(run.recorded)
        if self._execution is None and self._stage.takes_runs:
            self._begin_run(run)
        else:
            self._prefetch.add(run, times.monotonic_s())
            if not self._stage.takes_runs:
                self._give_back([run.key])

    def _give_back(self, keys: list[Key]) -> None:
        """Gives back those of the claims that have not begun, for other workers to run."""
        for key in keys:
            if (dropped := self._prefetch.drop(key)) is not None:
                self._outbox.returned.append(dropped)
                self._send(Returned(key=key))

    def _give_back_current(self, execution: Execution, now_s: float) -> None:
        """Gives back a run whose command cannot be started, and exits.

        The cause may be the limits of this process, which its successor does not inherit.
        """
        execution.disowned = True
        execution.stop(Outcome.INTERRUPTED, now_s)
        self._outbox.returned.append(execution.run.held)
        self._send(Returned(key=execution.run.key))
        self._enter(Event.DISMISSED)

    def _begin_run(self, run: Run) -> None:
        if lowered := self._limits.lowered():  # commands would inherit them
            self._log.warning("process.limited", limits=lowered, action="exits, and is replaced")
            self._enter(Event.DISMISSED)
        if lowered or self._lease_end.forbids(run):
            self._prefetch.add(run, times.monotonic_s())
            self._give_back(self._prefetch.keys())
            return
        self._scoreboard.record_run(self._number, run.id, run.key.attempt)
        now_s = times.monotonic_s()
        environment = spawn.environment_of(run, self._base, self._number)
        cgroup = spawn.cgroup_of(run, self._cgroups, self._log)
        stdin = self._prefetch.take_input(run.key)
        self._execution = self._execute(run, environment, cgroup, stdin=stdin, now_s=now_s)
        self._deadline_alarm.set(run)
        self._log.debug("job.started", job=run.id, queue=run.queue, attempt=run.key.attempt)

    def _drop_lost(self, key: Key) -> None:
        """Kills the run of a claim that is no longer in force: its job may be started elsewhere."""
        self._outbox.drop_recorded([key])
        if (execution := self._running(key)) is not None:
            execution.disowned, now_s = True, times.monotonic_s()
            execution.stop(Outcome.LOST, now_s)
            execution.end_grace(now_s)
        else:
            self._prefetch.drop(key)

    def _advance(self) -> None:
        """Makes the due steps of the run, and begins the next run when it is over."""
        while self._execution is not None and self._step(self._execution, times.monotonic_s()):
            if self._signals.arrived:
                self._handle_signals()
            if (run := self._prefetch.pop()) is not None:
                self._begin_run(run)

    def _step(self, execution: Execution, now_s: float) -> bool:
        """Makes the due steps of the run; returns whether it is over."""
        if now_s >= execution.next_s:
            self._tick(execution, now_s)
        if execution.phase is Phase.OVER:
            self._finish(execution)
            return True
        if now_s >= self._give_back_at_s(execution):
            self._give_back(self._prefetch.keys())
        if now_s >= self._forward_at_s:
            self._forward_at_s = times.NEVER_S
            self._forwarder = OutputForwarder(
                execution.run, execution.output, self._loop, self._send, now_s
            )
        if self._forwarder is not None:
            self._forwarder.tick(now_s)
        return False

    def _give_back_at_s(self, execution: Execution) -> float:
        """Returns when queued runs must be given back; never if others would be sent instead."""
        if execution.disowned:
            return times.NEVER_S
        return self._prefetch.give_back_at_s(execution.began_s)

    def _tick(self, execution: Execution, now_s: float) -> None:
        """Makes the due steps of the run; logs once if it cannot be started or killed."""
        starting = execution.phase is Phase.STARTING
        with self._oom_score.raised(wanted=starting):
            execution.tick(now_s)
        if starting and execution.phase is not Phase.STARTING:
            self._forward_at_s = now_s + _FORWARD_AFTER_S
        self._warnings.of_refused(execution)
        if execution.phase is Phase.STARTING and now_s >= execution.began_s + _REFUSED_S:
            self._give_back_current(execution, now_s)
        if self._warnings.of_unkillable(execution):
            self._scoreboard.end_run(self._number)  # a stop does not wait for it

    def _finish(self, execution: Execution) -> None:
        if self._forwarder is not None:
            self._forwarder.end()
        execution.output.drain()
        self._execution = self._forwarder = None
        self._forward_at_s = times.NEVER_S
        if execution.left is None:
            self._scoreboard.end_run(self._number)
        else:
            # When this worker exits, the processes that the run left become children of the
            # supervisor, so that they cannot be mistaken for processes of a later run.
            self._scoreboard.record_left(self._number, execution.left)
            self._enter(Event.DISMISSED)
        if not execution.disowned:
            self._outbox.results[execution.run.key] = execution
            report(execution, self._send)

    def _timeout_s(self) -> float | None:
        if not self._channel.closed:
            self._channel.flush_with(self._loop)
        if (execution := self._execution) is None:
            return None
        until_s = min(execution.next_s, self._give_back_at_s(execution), self._forward_at_s)
        if self._forwarder is not None:
            until_s = min(until_s, self._forwarder.next_s)
        return times.left_s(until_s)
