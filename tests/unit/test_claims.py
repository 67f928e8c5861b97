"""Which claims a worker holds, and which worker gets the next."""

from itertools import pairwise

import pytest

from queued.core import times
from queued.core.runs import Claim, Key
from queued.service.dispatcher.claim_tokens import Tokens
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.run_message import run_of
from queued.service.worker.prefetch import PrefetchQueue
from tests.claims import make_claim
from tests.default_settings import DEFAULTS


def _claim(job: int, worker: int) -> Claim:
    return make_claim(job, worker=worker)


def test_the_oldest_claim_is_the_one_that_runs() -> None:
    first, second, other = _claim(1, 7), _claim(2, 7), _claim(3, 5)
    claims = ClaimTable([first, second, other])
    assert claims.busy() == [5, 7]
    assert claims.running() == [other, first]
    assert claims.of(7) == (first, second)
    assert list(claims) == [first, second, other]
    claims.remove(first)
    assert claims.running() == [other, second]
    claims.remove(second)
    assert claims.busy() == [5]
    assert claims.of(7) == ()


def test_a_claim_is_found_by_all_of_its_key() -> None:
    claims = ClaimTable([_claim(1, 7)])
    assert claims.find(7, Key(1, 1, 10)) == _claim(1, 7)
    assert claims.find(7, Key(1, 1, 11)) is None
    assert claims.find(8, Key(1, 1, 10)) is None


@pytest.mark.parametrize(
    ("ran_ms", "more"),
    [(0, 16), (1, 16), (2, 10), (3, 6), (4, 5), (5, 4), (8, 2), (20, 1), (21, 0), (None, 0)],
)
def test_the_last_run_sets_the_number_of_prefetched_claims(ran_ms: int | None, more: int) -> None:
    claims = ClaimTable([_claim(0, 7)])
    assert not [*claims.assignable([7])], "the duration of its runs is not known"
    claims.note_run(7, ran_ms)
    assert [*claims.assignable([7])] == [7] * more
    assert [*ClaimTable().assignable([7])] == [7], "a worker without claims may always have one"


def test_workers_with_the_fewest_claims_come_first() -> None:
    claims = ClaimTable([_claim(1, 7), _claim(2, 7), _claim(3, 8)])
    for worker in (7, 8, 9):
        claims.note_run(worker, 8)  # two more than the one that runs
    assert [*claims.assignable([7, 8, 9, 10])] == [9, 10, 8, 9, 7, 8, 9]


def test_prefetched_claims_run_in_order_and_do_not_wait_long() -> None:
    hand = PrefetchQueue()
    assert hand.give_back_at_s(9.0) == float("inf")
    runs = [run_of(_claim(job, 1), DEFAULTS, []) for job in range(4)]
    for job, run in enumerate(runs):
        hand.add(run, 10.0 + job)
    assert hand.give_back_at_s(9.0) == pytest.approx(10.03), "the first run waits behind a long run"
    assert hand.give_back_at_s(10.05) == pytest.approx(10.08), "that run has begun just now"
    assert hand.give_back_at_s(10.09) == pytest.approx(10.1), "many quick runs were before it"
    assert hand.pop() == runs[0]
    assert hand.give_back_at_s(9.0) == pytest.approx(11.03)
    assert hand.drop(runs[2].key)
    assert not hand.drop(runs[2].key)
    assert hand.keys() == [runs[1].key, runs[3].key]
    assert [hand.pop(), hand.pop(), hand.pop()] == [runs[1], runs[3], None]


def test_a_copy_is_independent() -> None:
    claims = ClaimTable([_claim(1, 7)])
    copy = claims.copy()
    copy.add(_claim(2, 7))
    copy.note_run(7, 1)
    assert claims.of(7) == (_claim(1, 7),)
    claims.add(_claim(3, 8))
    assert copy.of(8) == ()
    assert not [*claims.assignable([7])]
    assert 7 in copy.assignable([7])


def test_later_claims_have_larger_tokens() -> None:
    reserve = Tokens().reserve
    tokens = [reserve(times.monotonic_s()) for _ in range(10_000)]
    assert all(before < after for before, after in pairwise(tokens))
    assert Tokens().reserve(times.monotonic_s()) > tokens[-1], "also those of another dispatcher"
    assert tokens[-1] < 2**63, "the largest integer of SQLite"
