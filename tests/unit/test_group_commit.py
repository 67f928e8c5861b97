"""When a turn is delayed so that results share a commit."""

import pytest

from queued.core.model import Outcome
from queued.core.runs import Chunk, Ending, Key
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.group_commit import GroupCommit
from queued.service.ipc.messages import Message, Output, Piece, Result, Returned, WorkerGone
from tests.claims import make_claim


def _claims(**held: int) -> ClaimTable:
    """Makes claims for each worker: w7=3 gives worker 7 three of them."""
    return ClaimTable(
        make_claim(job, worker=int(name[1:]))
        for name, count in held.items()
        for job in range(count)
    )


def _result(worker: int) -> tuple[int, Message]:
    return worker, Result(key=Key(1, 1, 1), id="a", ending=Ending(Outcome.EXIT), pieces=[])


def _made(connected: list[int], **held: int) -> GroupCommit:
    group_commit = GroupCommit()
    assert group_commit.not_before_s == 0, "the first turn is due at once"
    group_commit.on_committed(_claims(**held), connected, 10.0)
    return group_commit


def test_results_wait_while_all_workers_have_a_prefetched_run() -> None:
    group_commit = _made([1, 2], w1=5, w2=3)
    assert 10.0 < group_commit.not_before_s <= 10.01
    for worker in (1, 1, 2, 1):
        group_commit.on_message(*_result(worker))
        assert group_commit.not_before_s > 10.0
    group_commit.on_message(*_result(1))
    assert group_commit.not_before_s == 0, "worker 1 has only one claim left"


def test_a_worker_without_a_prefetched_run_does_not_wait() -> None:
    assert _made([1, 2], w1=5, w2=1).not_before_s == 0
    assert _made([1, 2], w1=5).not_before_s == 0
    assert _made([1], w1=5, w2=1).not_before_s > 10.0, "worker 2 is not connected"


def test_any_other_message_makes_a_turn_due_at_once() -> None:
    piece = Piece(Chunk(1, 0, b"x"), 1, 0)
    for message in (
        Output(key=Key(1, 1, 1), piece=piece),
        Returned(key=Key(1, 1, 1)),
        WorkerGone(number=1, worker=1, pid=1, clean=False, begun=0, claims_before_s=0.0),
    ):
        group_commit = _made([1], w1=5)
        group_commit.on_message(1, message)
        assert group_commit.not_before_s == 0


def test_a_message_of_a_new_worker_makes_a_turn_due_at_once() -> None:
    group_commit = _made([1], w1=5)
    group_commit.on_message(*_result(2))
    assert group_commit.not_before_s == 0


@pytest.mark.parametrize(
    ("ran_ms", "held", "sleeps"),
    [(4, 6, True), (4, 3, False), (20, 2, True), (20, 1, False), (None, 9, False)],
)
def test_the_dispatcher_sleeps_while_the_claims_of_all_workers_will_last(
    ran_ms: int | None,
    held: int,
    sleeps: bool,  # noqa: FBT001  a parameter of the rows
) -> None:
    claims = _claims(w1=9, w2=held)
    claims.note_run(1, 1)
    claims.note_run(2, ran_ms)
    group_commit = GroupCommit()
    group_commit.on_committed(claims, [1, 2], 10.0)
    assert (0 < group_commit.sleep_s(10.001) <= 0.005) is sleeps
    assert group_commit.sleep_s(11.0) == 0


def test_a_message_about_a_worker_ends_the_sleep() -> None:
    claims = _claims(w1=9)
    claims.note_run(1, 1)
    group_commit = GroupCommit()
    group_commit.on_committed(claims, [1], 10.0)
    group_commit.on_message(
        1, WorkerGone(number=1, worker=1, pid=1, clean=False, begun=0, claims_before_s=0.0)
    )
    assert group_commit.sleep_s(10.0) == 0


def test_without_workers_nothing_waits() -> None:
    group_commit = GroupCommit()
    group_commit.on_committed(_claims(), [], 10.0)
    assert group_commit.not_before_s == 0
