"""Shares of starts among queues: by priority, then by weight, and none that is saved up."""

from collections import Counter

from queued.core.fair_share import FairShare, Policy


def _starts(share: FairShare, count: int, at_once: int = 1) -> Counter[str]:
    """Picks until `count` starts were made, all of queues with enough jobs."""
    found: Counter[str] = Counter()
    while found.total() < count:
        for name, asked in share.pick(at_once).items():
            share.charge(name, asked, asked)
            found[name] += asked
    return found


def test_starts_are_shared_by_weight_whatever_the_size_of_a_claim() -> None:
    for at_once in (1, 8):
        share = FairShare()
        share.restart({"a": Policy(weight=3), "b": Policy()})
        assert _starts(share, 400, at_once) == {"a": 300, "b": 100}


def test_a_higher_priority_comes_first_until_it_has_no_jobs() -> None:
    share = FairShare()
    share.restart({"a": Policy(), "b": Policy(priority=1)})
    assert [*share.pick(2).items()] == [("b", 2)]
    share.charge("b", 2, 1)
    assert [*share.pick(2).items()] == [("a", 2)]


def test_an_empty_queue_saves_up_no_starts() -> None:
    share = FairShare()
    share.restart({"a": Policy()})
    assert _starts(share, 100) == {"a": 100}
    share.restart({"a": Policy(), "b": Policy()})
    assert _starts(share, 10) == {"a": 5, "b": 5}


def test_shares_hold_over_restarts() -> None:
    policies = {"a": Policy(weight=3), "b": Policy()}
    share, found = FairShare(), Counter[str]()
    for _ in range(100):
        share.restart(policies)
        found += _starts(share, 1)
    assert found == {"a": 75, "b": 25}


def test_a_queue_that_was_dropped_comes_back() -> None:
    share = FairShare()
    share.restart({"a": Policy(limited=True)})
    share.charge("a", *[share.pick(1)["a"], 0])
    assert share.pick(1) == {}
    share.add("a", Policy(limited=True))
    share.add("a", Policy(limited=True))
    assert share.pick(1, unlimited_only=True) == {}
    assert share.pick(3) == {"a": 3}
