"""Messages over a connection, also when the other side has gone."""

import socket
from contextlib import closing
from errno import ENOBUFS, ENOMEM

import pytest

from queued.core.runs import Chunk, Key
from queued.service.ipc.channel import (
    MAX_PACKET,
    Channel,
    DescriptorChannel,
    PacketTooLargeError,
    ProtocolError,
    pair,
)
from queued.service.ipc.messages import Output, Piece, Returned, WorkerStarted

KEY = Key(1, 1, 1)
MESSAGES = [Returned(key=Key(job, 1, job)) for job in range(3)]


@pytest.mark.parametrize("unread", [[], MESSAGES])
def test_messages_sent_before_the_peer_closed_are_received(unread: list[Returned]) -> None:
    """If the peer has not read all, the kernel reports a reset first."""
    ours, theirs = map(Channel, pair())
    for message in MESSAGES:
        theirs.send(message)
    ours.send(*unread)
    theirs.close()
    with closing(ours):
        assert ours.receive() == MESSAGES
        assert ours.closed


def test_a_closed_peer_is_sent_nothing_and_read_to_the_end() -> None:
    ours, theirs = map(Channel, pair())
    for message in MESSAGES:
        theirs.send(message)
    theirs.close()
    with closing(ours):
        ours.send(MESSAGES[0])
        assert not ours._waiting
        assert ours.receive() == MESSAGES
        assert ours.closed


def test_messages_sent_at_once_share_packets_of_bounded_size() -> None:
    ours, theirs = map(Channel, pair())
    long = [Output(key=KEY, piece=Piece(Chunk(1, at, bytes(100_000)), 0, 0)) for at in range(5)]
    with closing(ours), closing(theirs):
        theirs.send(*MESSAGES)
        theirs.send(*long)
        assert ours.receive(limit=1) == MESSAGES
        assert ours.receive(limit=3) == long, "500 kB need three packets of 256 KiB"
        theirs.send()
        assert ours.receive() == [], "no message makes no packet"


def test_an_empty_packet_is_a_protocol_error() -> None:
    sock, theirs = pair()
    with closing(Channel(sock)) as ours, theirs:
        theirs.send(b"\x90")
        with pytest.raises(ProtocolError):
            ours.receive()


def test_a_shortage_of_memory_loses_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = map(Channel, pair())
    refusals = [ENOBUFS, ENOMEM]
    plain = Channel._send

    def send(self: Channel, packet: bytes, passed: socket.socket | None) -> None:
        if refusals:
            raise OSError(refusals.pop(), "no memory")
        plain(self, packet, passed)

    monkeypatch.setattr(Channel, "_send", send)
    with closing(ours), closing(theirs):
        theirs.send(*MESSAGES)
        assert ours.receive() == []
        theirs.flush()
        theirs.flush()
        assert ours.receive() == MESSAGES


def test_a_message_that_fits_into_no_packet_is_refused() -> None:
    ours, theirs = map(Channel, pair())
    huge = Output(key=KEY, piece=Piece(Chunk(1, 0, bytes(2 * MAX_PACKET)), 0, 0))
    with closing(ours), closing(theirs):
        with pytest.raises(PacketTooLargeError):
            theirs.send(MESSAGES[0], huge)
        theirs.send(MESSAGES[1])
        assert ours.receive() == [MESSAGES[1]]


def test_a_socket_goes_along_with_a_message() -> None:
    theirs, ours = pair()
    sender, receiver = Channel(theirs), DescriptorChannel(ours)
    passed, other = pair()
    started = WorkerStarted(worker=1, pid=2)
    with closing(sender), closing(receiver), other:
        sender.send(MESSAGES[0])
        sender.send_socket(started, passed)
        passed.close()
        sender.send_socket(started, passed)  # closed: neither the message nor the socket
        assert receiver.receive() == [MESSAGES[0], started]
        with socket.socket(fileno=receiver.next_descriptor()) as got:
            got.send(b"x")
        assert other.recv(1) == b"x"
