"""The dispatcher's workers: their channels, their claims, and an inbox of all messages.

The supervisor reports which workers live and passes the socket of each; a worker's Hello lists the
claims that it holds. The sockets have no address, so no other process can connect.
"""

import socket
import sys
from collections.abc import Collection, Iterable
from functools import partial
from signal import Signals

from queued.core import times
from queued.core.runs import Key, SignalRequest
from queued.core.settings_in_force import Settings
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.group_commit import GroupCommit
from queued.service.ipc.channel import Channel, ProtocolError
from queued.service.ipc.messages import (
    Cancel,
    Hello,
    LogSettings,
    Message,
    Output,
    Result,
    Returned,
    Signal,
    Suspend,
    Welcome,
    WorkerFaulty,
    WorkerGone,
    WorkerStarted,
)
from queued.service.linux.event_loop import EventLoop
from queued.service.log import Log

_EXPECTED = (Output, Result, Returned)  # after the Hello


class ConnectedWorker:
    """A living worker, and the channel to it."""

    def __init__(self, number: int, pid: int, sock: socket.socket) -> None:
        self.number = number
        self.pid = pid
        self.channel = Channel(sock)
        self.greeted = False  # whether its Hello has arrived


class WorkerPool:
    """The workers by number. `inbox` has the messages of and about them, in order of arrival."""

    def __init__(self, supervisor: Channel, loop: EventLoop, log: Log) -> None:
        self.claims = ClaimTable()
        self.inbox: list[tuple[int, Message]] = []
        self.group_commit = GroupCommit()
        self._workers: dict[int, ConnectedWorker] = {}
        self._cancels_sent = set[Key]()  # to workers that have sent no Hello since
        self._suspended = set[Key]()  # runs whose workers were told to freeze them
        # Runs that an earlier dispatcher may have suspended; None: they are not known yet.
        self._unknown: set[Key] | None = None
        self._log_settings: list[Message] = []
        self._session = int(times.monotonic_s() * 1e9)  # greater than that of an earlier dispatcher
        self._supervisor = supervisor
        self._loop = loop
        self._log = log

    # Messages of the supervisor

    def on_roster(self, workers: Iterable[int]) -> None:
        """Adds a death for each worker that has claims but is not in the roster."""
        for worker in set(self.claims.busy()).difference(workers):
            self._put(worker, _unknown(worker))

    def on_worker_started(self, message: WorkerStarted, descriptor: int) -> None:
        """Connects to a worker by the socket that the supervisor has passed."""
        self._put(message.worker, message)
        worker = ConnectedWorker(message.worker, message.pid, socket.socket(fileno=descriptor))
        self._workers[worker.number] = worker
        self._loop.add(worker.channel.fileno(), partial(self._receive, worker))
        worker.channel.send(Welcome(session=self._session), *self._log_settings)

    def on_worker_gone(self, message: WorkerGone) -> None:
        """Adds the last messages of a dead worker to the inbox, then its death."""
        worker = self._workers.get(message.worker)
        if worker is not None and worker.pid == message.pid:
            self._receive(worker, packets=sys.maxsize)
            self._drop(worker)
        self._put(message.worker, message)

    # For the dispatcher

    def present(self) -> list[int]:
        """Returns the workers whose Hello has arrived."""
        return [number for number, worker in self._workers.items() if worker.greeted]

    def pids(self) -> dict[int, int]:
        """Returns the pids of the connected workers."""
        return {number: worker.pid for number, worker in self._workers.items()}

    def has_greeting(self) -> bool:
        """Returns whether the inbox has a Hello, of a worker that no cancel was sent to yet."""
        return any(isinstance(message, Hello) for _, message in self.inbox)

    def has_workers(self) -> bool:
        """Returns whether the Hello of any worker has arrived."""
        return any(worker.greeted for worker in self._workers.values())

    def configure_logs(self, settings: Settings) -> None:
        """Sends the log settings to all workers, and later to each new one."""
        level, style, size = settings.log_level, settings.log_format, settings.log_max_size
        self._log_settings = [LogSettings(level=level, style=style, max_file_bytes=size)]
        for worker in self._workers.values():
            worker.channel.send(*self._log_settings)

    def deaths(self) -> int:
        """Returns the number of the last death in the inbox; 0 if it has none."""
        gone = [message for _, message in self.inbox if isinstance(message, WorkerGone)]
        return max((message.number for message in gone), default=0)

    def send(self, number: int, messages: Iterable[Message]) -> None:
        """Sends messages to a worker; drops them if its Hello, which makes up for them, is due."""
        worker = self._workers.get(number)
        if worker is not None and worker.greeted:
            worker.channel.send(*messages)
            worker.channel.flush_with(self._loop)

    def cancel(self, requested: list[Key]) -> None:
        """Tells the worker of each of these claims, once, that its cancel was requested."""
        new, self._cancels_sent = set(requested) - self._cancels_sent, set(requested)
        for claim in self.claims:
            if claim.key in new:
                self.send(claim.worker, [Cancel(key=claim.key)])

    def signal(self, requested: list[SignalRequest]) -> None:
        """Tells the worker of each of these claims to send a signal to its run."""
        for claim in self.claims:
            for key, name in requested:
                if key == claim.key and f"SIG{name}" in Signals.__members__:
                    self.send(claim.worker, [Signal(key=key, name=name)])
                elif key == claim.key:  # another program has written it
                    self._log.error("job.signal_refused", job=claim.id, signal=name)

    def suspend(self, queues: Collection[str]) -> None:
        """Tells the workers, once, to freeze the runs of these queues, and no others."""
        if self._unknown is None:
            self._unknown = {c.key for c in self.claims if self.claims.is_inherited(c)}
        if not (queues or self._suspended or self._unknown):
            return
        present = self.present()
        for claim in self.claims:
            key, wanted = claim.key, claim.queue in queues
            told = key not in self._unknown and wanted is (key in self._suspended)
            if not told and claim.worker in present:
                self.send(claim.worker, [Suspend(key=key, wanted=wanted)])
                self._unknown.discard(key)
                (self._suspended.add if wanted else self._suspended.discard)(key)
        running = {claim.key for claim in self.claims}
        self._suspended &= running
        self._unknown &= running

    def on_committed(self, claims: ClaimTable, now_s: float) -> None:
        """Clears the inbox, which a committed turn has handled, and replaces the claims."""
        if self.has_greeting():
            self._cancels_sent.clear()
        if self._unknown is not None:
            found = {c.key for c in claims if claims.is_inherited(c)}
            self._unknown |= found.difference(claim.key for claim in self.claims)
        self.inbox.clear()
        self.claims = claims
        self.group_commit.on_committed(claims, self.present(), now_s)

    def _put(self, worker: int, message: Message) -> None:
        self.inbox.append((worker, message))
        self.group_commit.on_message(worker, message)

    # The channels

    def _receive(self, worker: ConnectedWorker, packets: int = 64) -> None:
        """Reads what a worker has sent: at most that many packets."""
        try:
            for message in worker.channel.receive(packets):
                self._accept(worker, message)
        except ProtocolError as error:
            self._log.error("worker.faulty", worker=worker.number, reason=str(error))
            self._supervisor.send(WorkerFaulty(worker=worker.number, pid=worker.pid))
            worker.channel.closed = True
        worker.channel.flush_with(self._loop)
        if worker.channel.closed:
            self._drop(worker)

    def _accept(self, worker: ConnectedWorker, message: Message) -> None:
        """Puts a message into the inbox, unless the worker sent it to an earlier dispatcher."""
        if isinstance(message, Hello):
            worker.greeted = message.session == self._session
        elif not isinstance(message, _EXPECTED):
            msg = f"{type(message).__name__} is not a message for the dispatcher"
            raise ProtocolError(msg)
        if worker.greeted:
            self._put(worker.number, message)

    def _drop(self, worker: ConnectedWorker) -> None:
        if self._workers.get(worker.number) is worker:
            del self._workers[worker.number]
            self._loop.remove(worker.channel.fileno())
            worker.channel.close()


def _unknown(worker: int) -> WorkerGone:
    """Returns a synthetic death of a worker that only the claim table knows."""
    return WorkerGone(
        number=0, worker=worker, pid=0, clean=False, begun=None, claims_before_s=float("inf")
    )
