"""The dispatcher's side of the workers' channels, with real sockets and no worker."""

import random
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from queued.core.model import Outcome
from queued.core.runs import Chunk, Ending, HeldRun, Key
from queued.service.dispatcher.worker_pool import WorkerPool
from queued.service.ipc import channel, messages
from queued.service.ipc.channel import Channel
from queued.service.ipc.messages import (
    Hello,
    Output,
    Piece,
    Result,
    Returned,
    Suspend,
    Welcome,
    WorkerFaulty,
    WorkerGone,
    WorkerStarted,
)
from queued.service.linux.event_loop import EventLoop
from queued.service.log import LogOutput
from tests.claims import make_claim

KEY = Key(1, 1, 1)
HELD = HeldRun(KEY, "a", 0)
RESULT = Result(key=KEY, id="a", ending=Ending(Outcome.EXIT, exit_code=0), pieces=[])


class Pool:
    """A pool with one worker, whose end of the channel the test holds."""

    def __init__(self) -> None:
        ours, theirs = channel.pair()
        self.supervisor = Channel(theirs)
        log = LogOutput("error", "json").log()
        self.pool = WorkerPool(Channel(ours), EventLoop(), log)
        self.pid = 0
        self.start()

    def start(self) -> None:
        """A worker is forked, in place of the one before."""
        self.pid += 1
        ours, self.raw = channel.pair()
        self.pool.on_worker_started(WorkerStarted(worker=1, pid=self.pid), ours.detach())
        self.worker = Channel(self.raw)

    def receive(self) -> list[messages.Message]:
        """Returns the messages that the pool now adds to its inbox."""
        before = len(self.pool.inbox)
        for worker in list(self.pool._workers.values()):
            self.pool._receive(worker)
        return [message for _, message in self.pool.inbox[before:]]

    def welcome(self) -> int:
        """The session of the greeting."""
        (greeting,) = self.worker.receive()
        assert isinstance(greeting, Welcome)
        return greeting.session

    def close(self) -> None:
        for opened in (self.supervisor, self.worker):
            opened.close()
        for worker in self.pool._workers.values():
            worker.channel.close()
        self.pool._supervisor.close()


@pytest.fixture
def pool() -> Iterator[Pool]:
    with closing(Pool()) as made:
        yield made


def test_a_worker_is_present_once_it_has_said_hello(pool: Pool) -> None:
    assert pool.pool.present() == []
    hello = Hello(session=pool.welcome(), holding=[])
    pool.worker.send(hello)
    assert pool.receive() == [hello]
    assert pool.pool.present() == [1]


def test_a_run_that_a_new_dispatcher_inherits_late_is_told_whether_it_is_suspended(
    pool: Pool,
) -> None:
    """Its claim was lost in a failover, perhaps with the suspension that has frozen it."""
    pool.pool.suspend([])
    pool.worker.send(Hello(session=pool.welcome(), holding=[HELD]))
    pool.receive()
    claims, claim = pool.pool.claims.copy(), make_claim(worker=1)
    claims.inherit(claim)
    pool.pool.on_committed(claims, 0.0)
    pool.pool.suspend([])
    assert pool.worker.receive() == [Suspend(key=claim.key, wanted=False)]
    pool.pool.on_committed(claims, 0.0)
    pool.pool.suspend([])
    assert pool.worker.receive() == []


def test_messages_for_an_earlier_dispatcher_are_dropped(pool: Pool) -> None:
    """The worker sends again all messages that are not durable."""
    session = pool.welcome()
    pool.worker.send(RESULT, Hello(session=session - 1, holding=[]), Returned(key=KEY))
    assert pool.receive() == []
    pool.worker.send(Hello(session=session, holding=[HELD]), RESULT)
    assert pool.receive() == [Hello(session=session, holding=[HELD]), RESULT]


def test_the_last_messages_of_a_dead_worker_come_before_its_death(pool: Pool) -> None:
    pool.worker.send(Hello(session=pool.welcome(), holding=[HELD]), RESULT)
    pool.worker.close()
    gone = WorkerGone(number=1, worker=1, pid=pool.pid, clean=True, begun=None, claims_before_s=1.0)
    pool.pool.on_worker_gone(gone)
    assert [type(message) for _, message in pool.pool.inbox[-3:]] == [Hello, Result, WorkerGone]
    assert pool.pool.present() == []


def test_a_late_report_of_a_death_does_not_drop_the_next_worker_of_the_slot(pool: Pool) -> None:
    pool.worker.close()
    pool.receive()
    pool.start()
    pool.worker.send(Hello(session=pool.welcome(), holding=[]))
    pool.receive()
    pool.pool.on_worker_gone(
        WorkerGone(number=1, worker=1, pid=0, clean=False, begun=None, claims_before_s=1.0)
    )
    assert pool.pool.present() == [1]


def test_workers_missing_from_the_roster_are_dead(pool: Pool) -> None:
    class Claims:
        def busy(self) -> list[int]:
            return [1, 2]

    pool.pool.claims = Claims()  # type: ignore[assignment]
    pool.pool.on_roster([1])
    (worker, gone) = pool.pool.inbox[-1]
    assert worker == 2
    assert isinstance(gone, WorkerGone)


def _fault(dice: random.Random) -> bytes:
    """Returns a packet that a worker never sends."""
    whole = _encode(RESULT)
    of_others: list[messages.Message] = [
        messages.Finish(),
        messages.Drain(),
        messages.Roster(workers=[1]),
        WorkerGone(number=1, worker=1, pid=1, clean=False, begun=0, claims_before_s=0.0),
        WorkerStarted(worker=1, pid=1),
        messages.Recorded(key=KEY, accepted=True),
        messages.Fatal(exit_code=0, reason=""),
    ]
    return dice.choice(
        [
            b"\xc1" + dice.randbytes(dice.choice([1, 7, 300, 9000])),
            whole[: dice.randrange(1, len(whole))],
            _encode(dice.choice(of_others)),
            b"\x91" * dice.choice([10, 5000, 60_000]),  # nested too deeply
            whole + bytes(dice.choice([1, 100_000])),
        ]
    )


def _encode(message: Any) -> bytes:
    return msgspec.msgpack.encode([message])


def test_a_worker_that_breaks_the_protocol_is_cut_off_and_replaced(
    pool: Pool, capfd: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(1)
    for n in range(500):
        pool.worker.send(Hello(session=pool.welcome(), holding=[]))
        pool.receive()
        pool.raw.send(_fault(dice))
        assert pool.receive() == []
        assert pool.pool.present() == []
        assert pool.supervisor.receive() == [WorkerFaulty(worker=1, pid=pool.pid)]
        assert pool.worker.receive() == []
        assert pool.worker.closed
        pool.worker.close()
        pool.start()
        if n % 100 == 0:
            assert "worker.faulty" in capfd.readouterr().out


def test_output_and_results_of_a_greeted_worker_are_taken(pool: Pool) -> None:
    said: list[messages.Message] = [
        Output(key=KEY, piece=Piece(Chunk(1, 0, b"x"), 0, 0)),
        RESULT,
        Returned(key=KEY),
    ]
    pool.worker.send(Hello(session=pool.welcome(), holding=[]), *said)
    assert pool.receive()[1:] == said


def test_a_socket_has_no_address_that_another_program_could_connect_to(pool: Pool) -> None:
    assert isinstance(pool.raw, socket.socket)
    assert (pool.raw.getsockname(), pool.raw.getpeername()) == ("", "")
