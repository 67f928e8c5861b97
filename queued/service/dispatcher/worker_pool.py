"""Who works for the dispatcher: the workers that live, their connections, the claims they hold.

The supervisor says who lives, the kernel says who is at the other end of a connection, the worker
says what it holds. Only a worker that the supervisor named is listened to; what anybody else
sends costs nobody but the sender.
"""

import errno
import os
import resource
import socket
import struct
from collections.abc import Iterable
from functools import partial

from queued.service.dispatcher.breadth import Breadth
from queued.service.dispatcher.claims import Hands
from queued.service.dispatcher.group_commit import Gather
from queued.service.ipc.channel import Channel, ProtocolError
from queued.service.ipc.messages import (
    PROTOCOL,
    Hello,
    Message,
    Output,
    Result,
    Returned,
    WorkerGone,
    WorkerStarted,
)
from queued.service.linux.event_loop import Wake
from queued.service.log import Log

_UCRED = struct.Struct("3i")
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_EXPECTED = (Output, Result, Returned)  # from a worker that has said who it is
_HELD = 64  # messages of one that the supervisor has not named yet


class Peer:
    """A connection to the dispatcher. Its kernel-checked pid is who it is, whatever it says."""

    def __init__(self, sock: socket.socket) -> None:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        self.pid, self.uid, _ = _UCRED.unpack(credentials)
        self.channel = Channel(sock)
        self.worker: int | None = None  # what it said in its hello
        self.held: list[Message] = []


class Crew:
    """The workers by number, and an inbox of what they and the supervisor said, in order."""

    def __init__(self, listener: socket.socket, wake: Wake, log: Log) -> None:
        self.hands = Hands()
        self.inbox: list[tuple[int, Message]] = []
        self.gather = Gather()
        self._breadth = Breadth(len(os.sched_getaffinity(0)), log)
        self.peers: dict[int, Peer] = {}
        self._pids: dict[int, int] = {}
        self._seats: dict[int, Peer] = {}  # who is there, by worker
        self._listener = listener
        self._wake = wake
        self._log = log
        _make_room()
        wake.add(listener.fileno(), self._accept)

    # What the supervisor says

    def roster(self, workers: Iterable[tuple[int, int]]) -> None:
        """Who lives when a dispatcher starts. A claim of anybody else ended with its worker."""
        for worker, pid in workers:
            self.started(WorkerStarted(worker=worker, pid=pid))
        for worker in self.hands.busy():
            if worker not in self._pids:
                self._put(worker, _unknown(worker))

    def started(self, message: WorkerStarted) -> None:
        """A worker lives; what it said before we knew it counts now."""
        self._pids[message.worker] = message.pid
        self._put(message.worker, message)
        for peer in self.peers.values():
            if peer.worker == message.worker and self._known(peer):
                self._seats[message.worker] = peer
                for held in peer.held:
                    self._put(message.worker, held)
                peer.held.clear()

    def gone(self, message: WorkerGone) -> None:
        """A worker is dead: first what it still said, then that it is dead."""
        self._accept()
        for peer in [peer for peer in self.peers.values() if peer.pid == message.pid]:
            while not peer.channel.closed:
                self._hear(peer)
        self._put(message.worker, message)
        self._pids.pop(message.worker, None)

    # What the dispatcher asks

    def present(self) -> list[int]:
        """Workers that are connected."""
        return [worker for worker, peer in self._seats.items() if self._known(peer)]

    def chosen(self, hands: Hands, now_s: float) -> list[int]:
        """Those of them who may be handed jobs, with these claims."""
        return self._breadth.chosen(self.present(), hands, now_s)

    @property
    def next_s(self) -> float:
        """When a turn is due, even if nobody says anything."""
        return self._breadth.until_s

    def greeted(self) -> bool:
        """Whether a worker has come back and must hear again what is wanted of it."""
        return any(isinstance(message, Hello) for _, message in self.inbox)

    def complete(self) -> bool:
        """Whether at least one worker is there."""
        return any(map(self._known, self._seats.values()))

    def send(self, worker: int, messages: Iterable[Message]) -> None:
        """Sends to a worker; one that is not connected will say what it holds when it is."""
        peer = self._seats.get(worker)
        if peer is not None and self._known(peer):
            peer.channel.send(*messages)
            peer.channel.flush_with(self._wake)

    def made(self, hands: Hands, ages_s: Iterable[float], now_s: float, *, dry: bool) -> None:
        """A turn was made of the inbox: these are the claims now; for the rest see Breadth."""
        self.inbox.clear()
        self.hands = hands
        self.gather.made(hands, self.chosen(hands, now_s), now_s)  # before others are chosen
        self._breadth.made(ages_s, len(self._seats), now_s, dry=dry)

    def _put(self, worker: int, message: Message) -> None:
        self.inbox.append((worker, message))
        self.gather.heard(worker, message)

    # The connections

    def _known(self, peer: Peer) -> bool:
        return peer.worker is not None and self._pids.get(peer.worker) == peer.pid

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._full(error)
                return
            peer = Peer(sock)
            if peer.uid != os.geteuid():
                self._log.warning("worker.refused", peer_pid=peer.pid, reason="another user")
                sock.close()
                continue
            self.peers[sock.fileno()] = peer
            self._wake.add(sock.fileno(), partial(self._hear, peer))

    def _full(self, error: OSError) -> None:
        """Who cannot connect waits until somebody else has gone; it holds nothing of ours."""
        if self._wake.watches(self._listener.fileno()):
            self._wake.remove(self._listener.fileno())
            action = "raise the limit of open files, or have fewer workers"
            self._log.error("worker.unheard", error=error.strerror, action=action)

    def _hear(self, peer: Peer) -> None:
        try:
            for message in peer.channel.receive():
                self._take(peer, message)
        except ProtocolError as error:
            self._log.warning("worker.refused", peer_pid=peer.pid, reason=str(error))
            peer.channel.closed = True
        peer.channel.flush_with(self._wake)
        if peer.channel.closed:
            self._drop(peer)

    def _take(self, peer: Peer, message: Message) -> None:
        if isinstance(message, Hello) and message.protocol != PROTOCOL:
            msg = f"it speaks version {message.protocol} of the protocol, not {PROTOCOL}"
            raise ProtocolError(msg)
        if isinstance(message, Hello) and peer.worker is None and message.pid == peer.pid:
            peer.worker = message.worker
            if self._known(peer):
                self._seats[message.worker] = peer
        elif not isinstance(message, _EXPECTED) or peer.worker is None:
            msg = f"{type(message).__name__} is not what the dispatcher expects"
            raise ProtocolError(msg)
        if self._known(peer):
            self._put(peer.worker, message)
        elif len(peer.held) < _HELD:
            peer.held.append(message)
        else:
            msg = "it is none of our workers"
            raise ProtocolError(msg)

    def _drop(self, peer: Peer) -> None:
        descriptor = peer.channel.fileno()
        if self.peers.pop(descriptor, None) is not None:
            self._wake.remove(descriptor)
            peer.channel.close()
            if peer.worker is not None and self._seats.get(peer.worker) is peer:
                del self._seats[peer.worker]
            if not self._wake.watches(self._listener.fileno()):
                self._wake.add(self._listener.fileno(), self._accept)  # there is room again


def _unknown(worker: int) -> WorkerGone:
    """One of whom only claims are left."""
    return WorkerGone(worker=worker, pid=0, clean=False, begun=None, until_s=float("inf"))


def _make_room() -> None:
    """A descriptor for each worker, as many as we may have. Commands inherit nothing of it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
