"""A worker: takes a claim, runs its command, reports how it ended. It knows no database.

It keeps a result until the dispatcher says that it is recorded, through any number of dispatchers.
SIGTERM: finish and exit. SIGQUIT: end the command and exit. When the supervisor is gone (its end
of the lifeline closes), the same as SIGQUIT. SIGUSR1: say that it is well.
"""

import os
import signal
from functools import partial

from queued.core import times
from queued.core.model import Key, Outcome
from queued.service import channel, processes, spawn
from queued.service.board import Board
from queued.service.channel import Cancel, Hello, Message, Output, Recorded, Result, Run, Stored
from queued.service.executor import Execution, Phase
from queued.service.log import Log
from queued.service.output import CHUNK
from queued.service.spared import Spared
from queued.service.wake import Signals, Wake

_FLUSH_S = 0.5  # output reaches the dispatcher within this time
_IN_FLIGHT = 8  # pieces of output that may wait for their acknowledgement


class Worker:
    """The loop of one worker process."""

    def __init__(  # noqa: PLR0913  all that it is made from, by name
        self, *, number: int, instance: str, address: bytes, lifeline: int, board: Board, log: Log
    ) -> None:
        self._number = number
        self._instance = instance
        self._address = address
        self._lifeline = lifeline
        self._board = board
        self._log = log
        self._base = spawn.inheritable(dict(os.environ))
        self._wake = Wake()
        self._signals = Signals(
            (
                signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD,
                signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
            )
        )  # fmt: skip
        self._channel: channel.Channel | None = None
        self._execution: Execution | None = None
        self._next: Run | None = None  # came while a run was ending whose claim was lost
        self._spared = Spared()
        self._reported = False  # the result was sent and is not acknowledged
        self._disowned = False  # the claim was lost: end it, report nothing
        self._leaving = False  # exit once nothing is owed
        self._stopping = False  # and run nothing any more
        self._orphaned = False
        self._flushed_s = 0.0

    def run(self) -> int:
        """Works until it is told to leave and owes nothing. Exit code 0: it owes nothing."""
        processes.become_subreaper()
        _close_on_exec()
        self._wake.add(self._signals.fileno(), self._obey)
        self._wake.add(self._lifeline, self._orphan)
        while True:
            self._connect()
            self._advance()
            if self._execution is None and self._leaving:
                return 0
            if self._channel is None and (self._execution is None or self._reported):
                return 1  # nobody is there to take the result; the next start rescues the job
            self._wake.wait(self._timeout_s())

    # What wakes it

    def _obey(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGTERM:
                self._leaving = True
            elif number == signal.SIGQUIT and self._board.stopping:
                self._stop()
            elif number == signal.SIGUSR1:
                self._board.answer(self._number)
        if self._execution is not None:
            self._execution.reap(times.monotonic_s())
        else:
            processes.reap_all()  # what was left alive on purpose may end, too

    def _orphan(self) -> None:
        if not self._orphaned:
            self._wake.remove(self._lifeline)
            self._orphaned = True
            self._log.warning("worker.orphaned", action="ends its command and exits")
            self._stop()

    def _stop(self) -> None:
        self._leaving = self._stopping = True
        if self._execution is not None:
            self._execution.stop(Outcome.INTERRUPTED, times.monotonic_s())

    def _receive(self) -> None:
        if self._channel is None:
            return
        for message in self._channel.receive():
            self._handle(message)
        if self._channel.closed:
            self._disconnect()

    def _handle(self, message: Message) -> None:
        match message:
            case Run():
                self._begin(message)
            case Recorded():
                self._recorded(message)
            case Stored() if self._holds(message.key):
                self._current.streams.stored(message.stream, message.end)
            case Cancel() if self._holds(message.key):
                self._current.stop(Outcome.CANCELLED, times.monotonic_s())
            case _:
                self._log.debug("worker.message_ignored", message=type(message).__name__)

    @property
    def _current(self) -> Execution:
        if self._execution is None:
            msg = "there is no run"
            raise RuntimeError(msg)
        return self._execution

    def _holds(self, key: Key) -> bool:
        return self._execution is not None and self._execution.run.key == key

    # The dispatcher

    def _connect(self) -> None:
        if self._channel is not None:
            return
        try:
            self._channel = channel.connect(self._address)
        except OSError:
            self._orphan()  # the supervisor listens as long as it lives
            return
        self._wake.add(self._channel.fileno(), self._receive)
        self._reported = False
        holding = None
        if self._execution is not None:
            self._execution.streams.rewind()
            holding = self._execution.run.key
        self._channel.send(
            Hello(protocol=channel.PROTOCOL, worker=self._number, pid=os.getpid(), holding=holding)
        )

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._wake.remove(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _send(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    # One run

    def _begin(self, run: Run) -> None:
        """A new run; that it comes says that the last one's result is recorded."""
        if self._disowned:
            self._next = run
            return
        if self._execution is not None and not self._reported:
            msg = "the dispatcher sent a run while one was going on"
            raise RuntimeError(msg)
        self._board.write(self._number, run.id, run.key.attempt)
        now_s = times.monotonic_s()
        environment = spawn.environment_of(run, self._base, self._instance)
        self._execution = Execution(run, environment, self._spared, now_s=now_s)
        self._reported = False
        self._flushed_s = now_s
        self._log.debug("job.started", job=run.id, queue=run.queue, attempt=run.key.attempt)
        if self._stopping:
            self._execution.stop(Outcome.INTERRUPTED, now_s)

    def _recorded(self, message: Recorded) -> None:
        if not self._holds(message.key):
            return
        if message.accepted or self._reported:
            self._execution, self._reported = None, False
        else:
            self._disowned = True
            self._current.stop(Outcome.LOST, times.monotonic_s())

    def _advance(self) -> None:
        """Moves the run on by whatever is due."""
        execution = self._execution
        if execution is None or self._reported:
            return
        now_s = times.monotonic_s()
        troubles = execution.refused, execution.unkillable
        execution.tick(now_s)
        self._warn(execution, *troubles)
        self._watch(execution)
        if execution.phase is Phase.OVER:
            self._finish(execution)
        elif self._flush_s(execution) <= now_s:
            self._flush(execution, now_s)

    def _warn(self, execution: Execution, refused: int, unkillable: int) -> None:
        """Says once what stands in the way of a run."""
        if execution.refused and not refused:
            self._log.warning(
                "job.start_refused",
                job=execution.run.id,
                action="tried again; raise the limits of processes, memory or descriptors",
            )
        if execution.unkillable and not unkillable:
            self._log.warning(
                "job.unkillable",
                job=execution.run.id,
                action="end what it left as its owner: a program may have become another user",
            )

    def _watch(self, execution: Execution) -> None:
        """Reads the pipes of a command that has just been started."""
        for descriptor in execution.streams.descriptors():
            if not self._wake.watches(descriptor):
                self._wake.add(descriptor, partial(self._read, execution, descriptor))

    def _read(self, execution: Execution, descriptor: int) -> None:
        if not execution.streams.read(descriptor):
            self._wake.remove(descriptor)
            execution.streams.close(descriptor)

    def _flush_s(self, execution: Execution) -> float:
        """When output is to be handed on; not before what was handed on is durable."""
        streams = execution.streams
        if not streams.waiting or streams.unacknowledged >= _IN_FLIGHT:
            return float("inf")
        return 0.0 if streams.pressing else self._flushed_s + _FLUSH_S

    def _flush(self, execution: Execution, now_s: float) -> None:
        room = _IN_FLIGHT - execution.streams.unacknowledged
        for piece in execution.streams.pieces(room * CHUNK):
            self._send(Output(key=execution.run.key, piece=piece))
        self._flushed_s = now_s

    def _finish(self, execution: Execution) -> None:
        streams = execution.streams
        for descriptor in streams.descriptors():
            self._wake.remove(descriptor)
        streams.drain()
        if self._disowned:
            self._disown()
            return
        key = execution.run.key
        while streams.waiting > CHUNK:
            for piece in streams.pieces(CHUNK):
                self._send(Output(key=key, piece=piece))
        self._send(Result(key=key, ending=execution.ending(), pieces=streams.pieces(CHUNK)))
        self._reported = True

    def _disown(self) -> None:
        """Nothing of the lost claim is alive; goes on with what came meanwhile."""
        self._execution, self._disowned = None, False
        run, self._next = self._next, None
        if run is not None:
            self._begin(run)

    def _timeout_s(self) -> float | None:
        execution = self._execution
        if self._channel is not None:
            self._wake.writable(self._channel.fileno(), wanted=self._channel.backlog)
            self._channel.flush()
        if execution is None or self._reported:
            return None
        until_s = min(execution.deadline_s, self._flush_s(execution))
        return None if until_s == float("inf") else max(0.0, until_s - times.monotonic_s())


def _close_on_exec() -> None:
    """Whatever we inherited must not reach commands; and their standard input is /dev/null."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
            os.set_inheritable(int(name), False)  # noqa: FBT003  its signature
