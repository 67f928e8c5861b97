"""Which claims a worker holds, and who is handed one more."""

from itertools import pairwise
from unittest.mock import Mock

import pytest

from queued.core.model import Claim, Key
from queued.service.hands import Hands
from queued.service.turn import Clerk


def _claim(job: int, worker: int) -> Claim:
    return Claim(
        key=Key(job, 1, job * 10),
        id=str(job),
        queue="default",
        command="true",
        options={},
        attempts=0,
        max_retries=3,
        worker=worker,
        due_ms=0,
        claimed_ms=0,
    )


def test_the_oldest_claim_is_the_one_that_runs() -> None:
    first, second, other = _claim(1, 7), _claim(2, 7), _claim(3, 5)
    hands = Hands([first, second, other])
    assert hands.busy() == [5, 7]
    assert hands.running() == [other, first]
    assert hands.of(7) == (first, second)
    assert list(hands) == [first, second, other]
    hands.drop(first)
    assert hands.running() == [other, second]
    hands.drop(second)
    assert hands.busy() == [5]
    assert hands.empty(7)


def test_a_claim_is_found_by_all_of_its_key() -> None:
    hands = Hands([_claim(1, 7)])
    assert hands.find(7, Key(1, 1, 10)) == _claim(1, 7)
    assert hands.find(7, Key(1, 1, 11)) is None
    assert hands.find(8, Key(1, 1, 10)) is None


@pytest.mark.parametrize(("ran_ms", "quick"), [(0, True), (20, True), (21, False), (None, False)])
def test_one_more_is_for_those_whose_last_run_was_quick(ran_ms: int | None, quick: bool) -> None:  # noqa: FBT001
    hands = Hands([_claim(1, 7)])
    assert not hands.open(7), "nothing is known of it"
    hands.ran(7, ran_ms)
    assert hands.open(7) is quick
    hands.take(_claim(2, 7))
    assert not hands.open(7), "one more, and not two"


def test_a_copy_stands_by_itself() -> None:
    hands = Hands([_claim(1, 7)])
    copy = hands.copy()
    copy.take(_claim(2, 7))
    copy.ran(7, 1)
    assert hands.of(7) == (_claim(1, 7),)
    hands.take(_claim(3, 8))
    assert copy.empty(8)
    assert not hands.open(7)


def test_later_claims_have_larger_tokens() -> None:
    clerk = Clerk(Mock(), "i")
    tokens = [clerk._next_token() for _ in range(10_000)]
    assert all(before < after for before, after in pairwise(tokens))
    assert Clerk(Mock(), "i")._next_token() > tokens[-1], "another dispatcher's, too"
    assert tokens[-1] < 2**63, "what SQLite can keep"
