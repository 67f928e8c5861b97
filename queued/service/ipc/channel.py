"""The socket that carries what the processes of the service say to each other.

A packet of a SOCK_SEQPACKET socket is an array of messages: MessagePack, each tagged with its name.
One that is anything else, or empty, is a ProtocolError of its sender.
"""

import socket
from collections import deque
from collections.abc import Sequence
from typing import Annotated

import msgspec

from queued.service.ipc.messages import Message
from queued.service.linux.event_loop import Wake

MAX_PACKET = 256 * 1024
_PACKET = memoryview(bytearray(MAX_PACKET))  # for all: each is decoded before the next is read
_BUFFER = 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Annotated[list[Message], msgspec.Meta(min_length=1)]).decode


class ProtocolError(Exception):
    """The other side sent what no message is."""


class Channel:
    """One end of a connection. Never blocks: what cannot be sent yet waits in order."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._waiting: deque[bytes] = deque()
        self._watched = False  # whether it is waited for room
        self.closed = False

    def fileno(self) -> int:
        """For epoll."""
        return self._socket.fileno()

    def send(self, *messages: Message) -> None:
        """Sends them, or keeps them for `flush`. A dead peer is told nothing."""
        if messages:
            self._waiting.extend(_packets(messages))
        self.flush()

    def flush(self) -> None:
        """Sends what waits, as far as the other side has room."""
        while self._waiting and not self.closed:
            try:
                self._socket.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self._waiting.clear()  # it is gone; what it said before is still to be heard
                return
            self._waiting.popleft()

    def flush_with(self, wake: Wake) -> None:
        """The same, and `wake` wakes when there is room for more of it."""
        if self._waiting or self._watched:
            self.flush()
            self._watched = bool(self._waiting)
            wake.writable(self.fileno(), wanted=self._watched)

    def receive(self, limit: int = 64) -> list[Message]:
        """What has arrived, `limit` packets at most. The end of the stream marks it closed.

        Raises ProtocolError at the first packet that is not made of messages.
        """
        messages: list[Message] = []
        for _ in range(limit):
            try:
                size = self._socket.recv_into(_PACKET)
            except BlockingIOError:
                break
            except ConnectionResetError:
                continue  # it did not hear all that we said; what it said is there
            except OSError:
                size = 0
            if size == 0:
                self.closed = True
                break
            messages += _messages(_PACKET[:size])
        return messages

    def close(self) -> None:
        """Closes the socket; safe to call twice."""
        self.closed = True
        self._socket.close()


def _packets(messages: Sequence[Message]) -> list[bytes]:
    """As few as they fit into, in their order."""
    packet = _encode(messages)
    if len(packet) <= MAX_PACKET or len(messages) == 1:
        return [packet]
    half = len(messages) // 2
    return _packets(messages[:half]) + _packets(messages[half:])


def _messages(packet: memoryview) -> list[Message]:
    try:
        messages: list[Message] = _decode(packet)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from None
    return messages


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, for the supervisor and its dispatcher."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def listen() -> socket.socket:
    """A listener on an address of the kernel's choice: no file, nothing to clean up."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")
    listener.listen(4096)
    listener.settimeout(0)
    return listener


def connect(address: bytes) -> Channel:
    """A connection to the listener. Raises OSError when nobody listens any more."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return Channel(sock)
