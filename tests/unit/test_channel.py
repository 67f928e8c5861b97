"""What a connection still says when the other side is gone."""

from contextlib import closing

from queued.core.model import Key
from queued.service.channel import Channel, Returned, pair

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
