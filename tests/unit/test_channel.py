"""What a connection still says when the other side is gone."""

from contextlib import closing

import pytest

from queued.core.model import Chunk, Key
from queued.service.ipc.channel import Channel, ProtocolError, pair
from queued.service.ipc.messages import Output, Piece, Returned

KEY = Key(1, 1, 1)
SAID = [Returned(key=Key(job, 1, job)) for job in range(3)]


def test_what_was_said_before_the_end_is_heard() -> None:
    ours, theirs = map(Channel, pair())
    for message in SAID:
        theirs.send(message)
    theirs.close()
    with closing(ours):
        assert ours.receive() == SAID
        assert ours.closed


def test_it_is_heard_from_one_who_did_not_listen_to_us() -> None:
    """Then the kernel reports a reset first."""
    ours, theirs = map(Channel, pair())
    for message in SAID:
        theirs.send(message)
    ours.send(SAID[0])
    theirs.close()
    with closing(ours):
        assert ours.receive() == SAID
        assert ours.closed


def test_who_is_gone_is_told_nothing_and_heard_to_the_end() -> None:
    ours, theirs = map(Channel, pair())
    for message in SAID:
        theirs.send(message)
    theirs.close()
    with closing(ours):
        ours.send(SAID[0])
        assert not ours._waiting
        assert ours.receive() == SAID
        assert ours.closed


def test_what_is_said_at_once_comes_in_few_packets_that_fit() -> None:
    ours, theirs = map(Channel, pair())
    long = [Output(key=KEY, piece=Piece(Chunk(1, at, bytes(100_000)), 0, 0)) for at in range(5)]
    with closing(ours), closing(theirs):
        theirs.send(*SAID)
        theirs.send(*long)
        assert ours.receive(limit=1) == SAID
        assert ours.receive(limit=3) == long, "they would be 500 kB, and a packet has 256 at most"
        theirs.send()
        assert ours.receive() == [], "nothing is said"


def test_who_says_nothing_in_a_packet_is_not_listened_to() -> None:
    sock, theirs = pair()
    with closing(Channel(sock)) as ours, theirs:
        theirs.send(b"\x90")
        with pytest.raises(ProtocolError):
            ours.receive()
