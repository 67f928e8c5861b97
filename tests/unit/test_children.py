"""When the supervisor starts a child again that ends soon after each start."""

from queued.service.ipc.scoreboard import DISPATCHER
from queued.service.supervisor.children import Children


def _longest_wait_s(slot: int) -> float:
    children, waits_s = Children(1), [0.0]
    for now_s in range(100, 1000, 100):
        for pid in (now_s, now_s + 1):
            children.started(slot, pid, now_s)
            children.ended(pid, now_s, clean=False)
            waits_s.append(children._start_s[slot] - now_s)
    return max(waits_s)


def test_a_worker_that_fails_is_started_less_and_less_often() -> None:
    assert _longest_wait_s(1) == 30


def test_a_dispatcher_that_reaches_no_server_tries_again_before_the_lease_ends_runs() -> None:
    """An outage of 85 s must touch no job, also if the dispatcher has to be started in it."""
    assert _longest_wait_s(DISPATCHER) == 5


def test_a_child_that_ends_late_is_started_at_once() -> None:
    children = Children(1)
    children.started(DISPATCHER, 7, 100)
    children.ended(7, 110, clean=False)
    assert DISPATCHER in children.due(110)
