"""A worker: takes a claim, runs its command, reports how it ended. It knows no database.

It keeps a result until the dispatcher says that it is recorded, through any number of dispatchers,
and goes on with the next run meanwhile if it has one in hand.
SIGTERM: finish and exit. SIGQUIT: end the command and exit. When the supervisor is gone (its end
of the lifeline closes), the same as SIGQUIT. SIGUSR1: say that it is well.
"""

import os
import signal
import socket

from queued.core import times
from queued.core.model import Key, Outcome
from queued.service.ipc import channel
from queued.service.ipc.messages import (
    Cancel,
    Hello,
    Message,
    Recorded,
    Returned,
    Run,
    Stored,
    Welcome,
)
from queued.service.ipc.scoreboard import Scoreboard
from queued.service.linux import descriptors, procfs
from queued.service.linux.cgroup import Cgroup, RunCgroups
from queued.service.linux.detached_processes import DetachedProcesses
from queued.service.linux.event_loop import EventLoop
from queued.service.linux.signals import ChildExits, Signals
from queued.service.log import Log
from queued.service.worker import spawn
from queued.service.worker.execution import Execution, Phase
from queued.service.worker.outbox import Outbox, report
from queued.service.worker.output_forwarder import OutputForwarder
from queued.service.worker.prefetch import PrefetchQueue

_SIGNALS = (
    signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
)  # fmt: skip
_YOUNG_S = 0.01  # what ends sooner has its output read once, at its end


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
        log: Log,
    ) -> None:
        self._number = number
        self._lifeline = lifeline
        self._scoreboard = scoreboard
        self._cgroups = cgroups
        self._runs_lock = runs_lock
        self._note = scoreboard.run_notes.note(number)
        self._log = log
        self._base = spawn.inheritable(os.environb, instance)
        self._loop = EventLoop()
        self._signals = Signals(_SIGNALS)
        self._dead = ChildExits()
        self._channel = channel.Channel(dispatcher)
        self._execution: Execution | None = None
        self._young_s = times.NEVER_S  # a command that was started may end at once, until then
        self._forwarder: OutputForwarder | None = None  # on the output of one that has not
        self._prefetch = PrefetchQueue()
        self._outbox = Outbox()
        self._detached = DetachedProcesses()
        self._disowned = False  # the claim was lost: end it, report nothing
        self._leaving = False  # exit once nothing is owed
        self._orphaned = False

    def run(self) -> int:
        """Works until it is told to leave and owes nothing. Exit code 0: it owes nothing."""
        os.setsid()  # what a terminal sends to its foreground reaches no command that is starting
        procfs.become_subreaper()
        descriptors.close_on_exec()
        self._loop.add(self._signals.fileno(), self._obey)
        self._loop.add(self._lifeline, self._orphan)
        self._loop.add(self._dead.fileno(), self._reap)
        self._loop.add(self._channel.fileno(), self._receive)
        while True:
            self._advance()
            if self._leaving and not (self._execution or self._outbox.results):
                return 0
            if self._channel.closed and self._execution is None:
                return 1  # no dispatcher will record the result; the next start rescues the job
            if self._execution is not None and self._young_s < times.NEVER_S:
                self._wait_young(self._execution)
            else:
                self._loop.wait(self._timeout_s())

    def _wait_young(self, execution: Execution) -> None:
        """For the end of a command that may come at once; what else comes is heard soon enough."""
        if not self._signals.arrived and self._dead.wait(self._timeout_s() or 0.0):
            execution.reap(times.monotonic_s())
        if self._signals.arrived:
            self._obey()

    # What wakes it

    def _obey(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGTERM:
                self._leaving = True
                self._give_back(self._prefetch.keys())
            elif number == signal.SIGQUIT and self._scoreboard.stopping:
                self._stop()
            elif number == signal.SIGUSR1:
                self._scoreboard.answer(self._number)
        self._reap()

    def _reap(self) -> None:
        self._dead.take()
        if self._execution is not None:
            self._execution.reap(times.monotonic_s())
        else:
            procfs.reap_all()  # what was left alive on purpose may end, too

    def _orphan(self) -> None:
        if not self._orphaned:
            self._loop.remove(self._lifeline)
            self._orphaned = True
            self._log.warning("worker.orphaned", action="ends its command and exits")
            self._stop()

    def _stop(self) -> None:
        self._leaving = True
        self._give_back(self._prefetch.keys())
        if self._execution is not None:
            self._execution.stop(Outcome.INTERRUPTED, times.monotonic_s())

    def _receive(self) -> None:
        for message in self._channel.receive():
            self._handle(message)
        if self._channel.closed:
            self._loop.remove(self._channel.fileno())
            self._orphan()  # no dispatcher is left, and none will come

    def _handle(self, message: Message) -> None:
        match message:
            case Run():
                self._take(message)
            case Welcome():
                self._greet(message)
            case Recorded(accepted=True):
                self._outbox.recorded([message.key])
            case Recorded():
                self._lose(message.key)
            case Stored() if (execution := self._running(message.key)) is not None:
                execution.output.stored(message.stream, message.end)
            case Cancel() if (execution := self._running(message.key)) is not None:
                execution.stop(Outcome.CANCELLED, times.monotonic_s())
            case Cancel():
                self._give_back([message.key])
            case _:
                self._log.debug("worker.message_ignored", message=type(message).__name__)

    def _running(self, key: Key) -> Execution | None:
        """The run of that claim, if it goes on."""
        found = self._execution
        return found if found is not None and found.run.key == key else None

    # The dispatcher

    def _greet(self, welcome: Welcome) -> None:
        """Tells a new dispatcher which claims are held, and sends what may not be durable."""
        running = [] if self._execution is None else [self._execution]
        holding = [*(one.run.key for one in running), *self._prefetch.keys(), *self._outbox.keys()]
        self._send(Hello(session=welcome.session, holding=holding))
        for execution in running:
            execution.output.rewind()
        self._outbox.report(self._send)

    def _send(self, message: Message) -> None:
        self._channel.send(message)

    # One run

    def _take(self, run: Run) -> None:
        """A new run: for now, or for when the one that is going on is over."""
        if run.recorded:
            self._outbox.recorded(run.recorded)
        if self._execution is None and not self._leaving:
            self._begin(run)
        else:
            self._prefetch.add(run, times.monotonic_s())
            if self._leaving:
                self._give_back([run.key])

    def _give_back(self, keys: list[Key]) -> None:
        """What of these is in hand is for somebody else to run."""
        for key in keys:
            if self._prefetch.drop(key):
                self._outbox.returned.append(key)
                self._send(Returned(key=key))

    def _begin(self, run: Run) -> None:
        self._scoreboard.write(self._number, run.id, run.key.attempt)
        now_s = times.monotonic_s()
        environment = spawn.environment_of(run, self._base)
        cgroup = self._make_cgroup(run)
        self._execution = Execution(
            run,
            environment,
            self._detached,
            cgroup,
            note=self._note,
            runs_lock=self._runs_lock,
            now_s=now_s,
        )
        self._log.debug("job.started", job=run.id, queue=run.queue, attempt=run.key.attempt)

    def _make_cgroup(self, run: Run) -> Cgroup | None:
        """Returns a control group for the run; None if none are delegated or the kernel refuses."""
        if self._cgroups is None:
            return None
        try:
            return self._cgroups.make(run.id, run.key.attempt)
        except OSError as error:
            self._log.warning("job.cgroup_failed", job=run.id, error=str(error))
            return None

    def _lose(self, key: Key) -> None:
        """The claim is not ours any more."""
        self._outbox.recorded([key])
        if (execution := self._running(key)) is not None:
            self._disowned = True
            execution.stop(Outcome.LOST, times.monotonic_s())
        else:
            self._prefetch.drop(key)

    def _advance(self) -> None:
        """Moves the run on by whatever is due, and begins the next when it is over."""
        while self._execution is not None and self._move(self._execution, times.monotonic_s()):
            if self._signals.arrived:
                self._obey()
            if (run := self._prefetch.pop()) is not None:
                self._begin(run)
            else:
                self._receive()  # it was not listened to while the run was young

    def _move(self, execution: Execution, now_s: float) -> bool:
        """Whether the run is over."""
        if now_s >= execution.next_s:
            self._tick(execution, now_s)
        if execution.phase is Phase.OVER:
            self._finish(execution)
            return True
        if now_s >= self._patience_s():
            self._give_back(self._prefetch.keys())
        if now_s >= self._young_s:
            self._young_s = times.NEVER_S
            self._forwarder = OutputForwarder(
                execution.run, execution.output, self._loop, self._send, now_s
            )
        if self._forwarder is not None:
            self._forwarder.tick(now_s)
        return False

    def _patience_s(self) -> float:
        """How long what is in hand may wait; for ever if more would be sent in its place."""
        return times.NEVER_S if self._disowned else self._prefetch.until_s

    def _tick(self, execution: Execution, now_s: float) -> None:
        """The run goes on by itself. Says once what stands in its way."""
        refused, unkillable = execution.refused, execution.unkillable
        starting = execution.phase is Phase.STARTING
        execution.tick(now_s)
        if starting and execution.phase is not Phase.STARTING:
            self._young_s = now_s + _YOUNG_S
        if execution.refused and not refused:
            action = "tried again; raise the limits of processes, memory or descriptors"
            self._log.warning("job.start_refused", job=execution.run.id, action=action)
        if execution.unkillable and not unkillable:
            action = "end what it left as its owner: a program may have become another user"
            self._log.warning("job.unkillable", job=execution.run.id, action=action)

    def _finish(self, execution: Execution) -> None:
        if self._forwarder is not None:
            self._forwarder.end()
        execution.output.drain()
        self._execution = self._forwarder = None
        self._young_s = times.NEVER_S
        if self._cgroups is not None and execution.group is not None:
            self._cgroups.keep(execution.group)
        if self._disowned:
            self._disowned = False
        else:
            self._outbox.results[execution.run.key] = execution
            report(execution, self._send)

    def _timeout_s(self) -> float | None:
        if not self._channel.closed:
            self._channel.flush_with(self._loop)
        if self._execution is None:
            return None
        until_s = min(self._execution.next_s, self._patience_s(), self._young_s)
        if self._forwarder is not None:
            until_s = min(until_s, self._forwarder.next_s)
        return None if until_s == times.NEVER_S else max(0.0, until_s - times.monotonic_s())
