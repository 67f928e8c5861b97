"""What the processes of the service say to each other, and the socket that carries it.

A packet of a SOCK_SEQPACKET socket is an array of messages: MessagePack, each tagged with its name.
One that is anything else is a ProtocolError of its sender.
"""

import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from queued.core.model import Chunk, Ending, Key
from queued.service.wake import Wake

PROTOCOL = 1
MAX_PACKET = 256 * 1024
_PACKET = memoryview(bytearray(MAX_PACKET))  # for all: each is decoded before the next is read
_BUFFER = 1024 * 1024


class ProtocolError(Exception):
    """The other side sent what no message is."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A message; its class name is its tag."""


# Worker to dispatcher


class Hello(_Message, frozen=True):
    """The first message on a connection: who it is, and which claims it still holds."""

    protocol: int
    worker: int
    pid: int
    holding: list[Key]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A piece of output, and which positions of its stream are not kept: [head_end, tail_start)."""

    chunk: Chunk
    head_end: int
    tail_start: int


class Output(_Message, frozen=True):
    """A piece of a running command's output."""

    key: Key
    piece: Piece


class Result(_Message, frozen=True):
    """How a run ended, with the last of its output."""

    key: Key
    ending: Ending
    pieces: list[Piece]


class Returned(_Message, frozen=True):
    """A claim that was not started: somebody else may have it."""

    key: Key


# Dispatcher to worker


class Run(_Message, frozen=True):
    """A claim to run, now or next. It also says which results are durable."""

    key: Key
    recorded: list[Key]
    id: str
    queue: str
    command: str
    max_retries: int
    timeout_s: float
    kill_grace_s: float
    output_limit: int
    clean: bool
    options: dict[str, Any]


class Stored(_Message, frozen=True):
    """Output of this stream is durable up to this position."""

    key: Key
    stream: int
    end: int


class Recorded(_Message, frozen=True):
    """The result is durable, or (not accepted) the claim was lost: stop it and forget it."""

    key: Key
    accepted: bool


class Cancel(_Message, frozen=True):
    """Somebody wants the run to end."""

    key: Key


# Supervisor to dispatcher


class Roster(_Message, frozen=True):
    """To a new dispatcher: which workers live, as (worker, pid).

    Only deaths come before it: the dispatcher before may not have recorded them.
    """

    workers: list[tuple[int, int]]


class WorkerStarted(_Message, frozen=True):
    """A worker was forked."""

    worker: int
    pid: int


class WorkerGone(_Message, frozen=True):
    """A worker is dead and nothing that it started is alive. `clean`: it owed no result.

    `begun` is the token of the claim that it began last, 0 if it began none; None: that is not
    known. Claims that were made later than `until_s` are another's that has its number now.
    """

    worker: int
    pid: int
    clean: bool
    begun: int | None
    until_s: float


class Drain(_Message, frozen=True):
    """Claim nothing more."""


class Finish(_Message, frozen=True):
    """No worker lives: record what there is and exit."""


class Renew(_Message, frozen=True):
    """The settings have changed: exit once nothing is under way; another takes over."""


class Describe(_Message, frozen=True):
    """Log how the queue stands and what is running."""


# Dispatcher to supervisor


class Ready(_Message, frozen=True):
    """The database is open and a worker waits for work."""


class Applied(_Message, frozen=True):
    """Settings that are the supervisor's to obey."""

    workers: int
    shutdown_grace_s: float


class Load(_Message, frozen=True):
    """Which workers are busy, and how many jobs wait for one; sent when it has changed."""

    busy: list[int]
    waiting: int


class StopRequested(_Message, frozen=True):
    """Somebody used `worker stop`."""


class Fatal(_Message, frozen=True):
    """The dispatcher cannot go on and neither can the next one."""

    exit_code: int
    reason: str


Message = (
    Hello | Output | Result | Returned | Run | Stored | Recorded | Cancel
    | Roster | WorkerStarted | WorkerGone | Drain | Finish | Renew | Describe
    | Ready | Applied | Load | StopRequested | Fatal
)  # fmt: skip

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Message]).decode


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
