"""The sockets that carry messages between the processes of the service.

A packet of a SOCK_SEQPACKET socket is a MessagePack array of messages, each tagged with its name.
Any other packet, also an empty array, raises ProtocolError.
"""

import errno
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec

from queued.core.errors import StorageError
from queued.service.ipc.messages import Message
from queued.service.linux.event_loop import EventLoop

MAX_PACKET = 256 * 1024
# One buffer for all channels, because a packet is decoded before the next is received.
_PACKET = memoryview(bytearray(MAX_PACKET))
_BUFFER = 1024 * 1024
_DESCRIPTOR_ROOM = socket.CMSG_SPACE(4)  # one descriptor a packet
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF})
_OVERHEAD = 32  # bytes of a send buffer that the kernel keeps for itself (unix_dgram_sendmsg)
_SHORTAGE_S = 0.01  # the pause if the kernel has no memory for a packet

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Annotated[list[Message], msgspec.Meta(min_length=1)]).decode


class ProtocolError(Exception):
    """The peer sent a packet that is not an array of messages."""


class PacketTooLargeError(ValueError):
    """A single message does not fit into a packet."""


class Channel:
    """One end of a connection. Never blocks: messages that cannot be sent yet wait in order."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        granted = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._most_bytes = min(MAX_PACKET, granted - _OVERHEAD)  # of a packet
        self._waiting: deque[tuple[bytes, socket.socket | None]] = deque()
        self._watched = False  # whether the event loop waits for room to send
        self.closed = False

    def fileno(self) -> int:
        """Returns the descriptor to wait for."""
        return self._socket.fileno()

    def send(self, *messages: Message) -> None:
        """Sends the messages, or keeps them for `flush`. Does nothing if the peer is gone.

        Raises PacketTooLargeError for a message that no packet can hold; then it sends nothing.
        """
        if messages:
            self._waiting.extend((packet, None) for packet in _packets(messages, self._most_bytes))
        self.flush()

    def send_socket(self, message: Message, passed: socket.socket) -> None:
        """Sends a message together with a socket; sends nothing if the socket is closed."""
        self._waiting.append((_encode([message]), passed))
        self.flush()

    def flush(self) -> None:
        """Sends waiting messages until the peer's buffer is full.

        If the kernel has no memory for a packet, the messages are kept for the next flush.
        """
        while self._waiting and not self.closed:
            try:
                self._send(*self._waiting[0])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _GONE:
                    time.sleep(_SHORTAGE_S)
                    return
                self._waiting.clear()  # the peer is gone, but its messages can still be received
                return
            self._waiting.popleft()

    def _send(self, packet: bytes, passed: socket.socket | None) -> None:
        if passed is None:
            self._socket.send(packet)
        elif passed.fileno() >= 0:
            socket.send_fds(self._socket, [packet], [passed.fileno()])

    def flush_with(self, loop: EventLoop) -> None:
        """Sends waiting messages, and wakes the event loop when there is room for the rest."""
        if self._waiting or self._watched:
            self.flush()
            self._watched = bool(self._waiting)
            loop.watch_writable(self.fileno(), wanted=self._watched)

    def receive(self, limit: int = 64) -> list[Message]:
        """Returns the messages that have arrived, from at most `limit` packets.

        Sets `closed` at the end of the stream. Raises ProtocolError at the first packet that is
        not an array of messages.
        """
        messages: list[Message] = []
        for _ in range(limit):
            try:
                size = self._receive()
            except BlockingIOError:
                break
            except ConnectionResetError:
                continue  # the peer closed with unread messages; its own can still be received
            except OSError as error:
                if error.errno not in _GONE:
                    break
                size = 0
            if size == 0:
                self.closed = True
                break
            messages += _messages(_PACKET[:size])
        return messages

    def _receive(self) -> int:
        return self._socket.recv_into(_PACKET)

    def close(self) -> None:
        """Closes the socket; safe to call twice."""
        self.closed = True
        self._socket.close()


class DescriptorChannel(Channel):
    """A channel that also receives descriptors: at most one with each message."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._descriptors: deque[int] = deque()

    def next_descriptor(self) -> int:
        """Removes and returns the descriptor that arrived first."""
        return self._descriptors.popleft()

    def _receive(self) -> int:
        """Raises StorageError if this process cannot have the descriptor of a message."""
        size, control, flags, _ = self._socket.recvmsg_into(
            [_PACKET], _DESCRIPTOR_ROOM, socket.MSG_CMSG_CLOEXEC
        )
        if flags & socket.MSG_CTRUNC:
            msg = "no descriptor is left for a worker; raise the limit of open files (LimitNOFILE=)"
            raise StorageError(msg)
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._descriptors.append(int.from_bytes(content[:4], sys.byteorder))
        return size


def check_size(message: Message) -> None:
    """Raises PacketTooLargeError for a message that no packet can hold."""
    _packets([message], MAX_PACKET)


def _packets(messages: Sequence[Message], most_bytes: int) -> list[bytes]:
    """Packs messages, in order, into packets of at most `most_bytes`."""
    packet = _encode(messages)
    if len(packet) <= most_bytes:
        return [packet]
    if len(messages) == 1:
        msg = f"a message of {len(packet)} bytes; a packet holds {most_bytes}"
        raise PacketTooLargeError(msg)
    half = len(messages) // 2
    return _packets(messages[:half], most_bytes) + _packets(messages[half:], most_bytes)


def _messages(packet: memoryview) -> list[Message]:
    try:
        messages: list[Message] = _decode(packet)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from None
    return messages


class SocketPair(NamedTuple):
    """Two connected sockets."""

    ours: socket.socket
    theirs: socket.socket


def pair() -> SocketPair:
    """Returns two connected sockets. Raises OSError."""
    return SocketPair(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
