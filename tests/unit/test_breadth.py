"""How many workers are used for quick jobs: tried on what the jobs are, and given up again."""

from collections.abc import Callable
from itertools import pairwise
from unittest.mock import Mock

from queued.core.model import Claim, Key
from queued.service.dispatcher.breadth import Breadth
from queued.service.dispatcher.claim_tokens import Tokens
from queued.service.dispatcher.claims import ClaimTable

WORKERS = list(range(1, 33))
FEW = 4  # for two processors

Rate = Callable[[int], float]  # jobs a second, by how many workers are at work


def thrashing(workers: int) -> float:
    return 2000 if workers <= FEW else 1700


def sleeping(workers: int) -> float:
    return 50 * workers


class Load:
    """Turns of a dispatcher whose workers end jobs at a rate; a turn every 20 ms."""

    def __init__(self, rate: Rate = thrashing) -> None:
        self.breadth = Breadth(2, Mock())
        self.rate = rate
        self.now_s = 100.0
        self.hands = ClaimTable()
        for worker in WORKERS:
            self.hands.ran(worker, 10)

    def chosen(self) -> list[int]:
        return self.breadth.chosen(WORKERS, self.hands, self.now_s)

    def turn(self, *, dry: bool = False) -> int:
        """How many workers were at work."""
        chosen = len(self.chosen())
        ended = round(self.rate(chosen) * 0.02)
        self.now_s += 0.02
        ages = [0.02 * n / ended for n in range(ended)]  # in seconds
        self.breadth.made(ages, len(WORKERS), self.now_s, dry=dry)
        return chosen

    def go_on(self, seconds: float) -> list[int]:
        return [self.turn() for _ in range(round(seconds / 0.02))]


def test_a_few_go_on_where_they_end_as_many() -> None:
    load = Load()
    at_work = load.go_on(5)
    assert set(at_work) == {len(WORKERS), FEW}
    assert at_work[:5] == [len(WORKERS)] * 5, "jobs must have waited for a while"
    assert set(at_work[60:]) == {FEW}


def test_a_few_go_on_where_they_end_nearly_as_many() -> None:
    load = Load(lambda workers: 1950 if workers <= FEW else 2000)
    assert set(load.go_on(5)[60:]) == {FEW}
    load = Load(lambda workers: 1800 if workers <= FEW else 2000)
    assert set(load.go_on(5)[60:]) == {len(WORKERS)}


def test_everybody_is_tried_again() -> None:
    load = Load()
    load.go_on(5)
    load.rate = sleeping
    assert len(WORKERS) in load.go_on(3)
    assert set(load.go_on(3)) == {len(WORKERS)}


def test_all_go_on_where_commands_sleep_and_a_few_are_tried_ever_less_often() -> None:
    load = Load(sleeping)
    at_work = load.go_on(300)
    changes = enumerate(pairwise(at_work))
    tries = [n * 0.02 for n, (before, now) in changes if now == FEW != before]
    between = [later - earlier for earlier, later in pairwise(tries)]
    assert between[0] > 5
    assert between[-1] > 80
    assert at_work.count(FEW) < 0.02 * len(at_work)


def test_each_is_one_of_the_few_in_turn() -> None:
    load = Load()
    load.go_on(1)
    used: dict[int, int] = dict.fromkeys(WORKERS, 0)
    for _ in range(round(0.2 * len(WORKERS) * 3 / 0.02)):
        for worker in load.chosen():
            used[worker] += 1
        load.turn()
    assert min(used.values()) > 0.5 * max(used.values())


def test_whoever_has_no_quick_job_is_not_spared() -> None:
    load = Load()
    load.go_on(3)
    spared = set(WORKERS) - set(load.chosen())
    assert len(spared) == len(WORKERS) - FEW
    slow = min(spared)
    load.hands.ran(slow, 3000)
    assert slow in load.chosen()


def test_nobody_is_spared_while_many_are_at_long_runs() -> None:
    load = Load()
    load.go_on(3)
    few = load.chosen()
    for worker in few[: FEW // 2]:
        assert len(load.chosen()) < len(WORKERS)
        load.hands.ran(worker, 3000)
    assert load.chosen() == WORKERS


def test_who_is_stuck_in_a_run_is_quick_no_more() -> None:
    load = Load()
    load.go_on(3)
    token = Tokens().make(load.now_s)
    for worker in load.chosen():
        load.hands.take(Claim(Key(worker, 1, token), "j", "q", "c", {}, 0, 0, worker, 0, 0))
    assert len(load.chosen()) == FEW
    load.now_s += 0.2
    assert load.chosen() == WORKERS


def test_a_turn_is_due_when_the_few_are_silent() -> None:
    load = Load()
    assert load.breadth.until_s == float("inf")
    load.go_on(3)
    assert load.now_s < load.breadth.until_s <= load.now_s + 0.1
    load.now_s += 0.2
    load.breadth.made([], len(WORKERS), load.now_s, dry=False)
    assert load.breadth.until_s == float("inf"), "and only once"
    assert load.chosen() == WORKERS


def test_a_trial_in_which_nothing_ends_is_not_won() -> None:
    load = Load(lambda _: 0)
    load.go_on(0.9)
    assert load.chosen() == WORKERS
    assert FEW not in load.go_on(3)


def test_who_is_slow_now_is_replaced_by_one_who_was_spared() -> None:
    load = Load()
    load.go_on(3)
    few = load.chosen()
    load.hands.ran(few[0], None)
    assert len(load.chosen()) == FEW + 1, "a quick one more, beside the slow one"


def test_where_no_job_waits_everybody_may_be_used_at_once() -> None:
    load = Load()
    load.go_on(3)
    assert len(load.chosen()) == FEW
    load.turn(dry=True)
    assert load.chosen() == WORKERS
    assert set(load.go_on(0.1)) == {len(WORKERS)}, "nothing is tried on a few jobs"
    assert FEW in load.go_on(1)


def test_a_try_in_vain_is_not_forgotten_when_jobs_run_out() -> None:
    load = Load(sleeping)
    load.go_on(2)
    load.turn(dry=True)
    assert FEW not in load.go_on(2)


def test_as_many_as_the_processors_can_use_are_never_spared() -> None:
    load = Load()
    few = WORKERS[:FEW]
    for _ in range(200):
        load.now_s += 0.02
        load.breadth.made([0.0], FEW, load.now_s, dry=False)
        assert load.breadth.chosen(few, load.hands, load.now_s) == few


def test_a_clock_that_jumps_spoils_one_try_at_most() -> None:
    load = Load()
    load.go_on(0.3)
    for _ in range(100):
        load.now_s += 0.02
        load.breadth.made([-3600.0, 3600.0], len(WORKERS), load.now_s, dry=False)
    load.go_on(12)
    assert len(load.chosen()) == FEW
