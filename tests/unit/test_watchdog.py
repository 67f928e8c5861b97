"""Which children count as hung, and when all are healthy."""

from queued.service.supervisor.children import Child
from queued.service.supervisor.watchdog import Finding, Watchdog

DISPATCHER, WORKER = Child(0, 100, 0.0), Child(1, 101, 0.0)


class Children:
    """Children that answer at the times that a test sets."""

    def __init__(self, limit_s: float | None = 6.0) -> None:
        self.answers_s = {0: 0.0, 1: 0.0}
        self.living = [DISPATCHER, WORKER]
        self.health = Watchdog(limit_s, self.answers_s.__getitem__)

    def check(self, now_s: float) -> Finding:
        assert self.health.due(now_s)
        return self.health.check(self.living, now_s)

    def all_answer(self, now_s: float) -> None:
        self.answers_s.update(dict.fromkeys(self.answers_s, now_s))


def test_without_a_watchdog_children_are_pinged_while_jobs_run() -> None:
    children = Children(limit_s=None)
    assert not children.health.due(1e9)
    children.health.watch(100.0, jobs_run=True)
    assert children.health.next_s == 110.0
    assert children.check(110.0).to_ping == [DISPATCHER, WORKER]
    children.health.watch(111.0, jobs_run=True)
    assert children.health.next_s == 120.0
    children.health.watch(112.0, jobs_run=False)
    assert not children.health.due(1e9)


def test_a_ping_before_a_pause_of_the_pings_does_not_count() -> None:
    children = Children(limit_s=None)
    children.health.watch(100.0, jobs_run=True)
    children.check(110.0)
    for jobs_run in (False, True):
        children.health.watch(115.0, jobs_run=jobs_run)
    assert children.check(125.0) == Finding([], [DISPATCHER, WORKER], healthy=True)


def test_a_watchdog_of_systemd_never_pauses() -> None:
    children = Children()
    children.health.watch(100.0, jobs_run=False)
    assert children.health.due(100.0)


def test_all_are_pinged_six_times_in_the_limit() -> None:
    children = Children()
    assert children.check(10.0).to_ping == [DISPATCHER, WORKER]
    assert children.health.next_s == 11.0
    assert not children.health.due(10.9)


def test_healthy_while_all_answer() -> None:
    children = Children()
    for now_s in (10.0, 11.0, 12.0, 13.0):
        assert children.check(now_s) == Finding([], [DISPATCHER, WORKER], healthy=True)
        children.all_answer(now_s + 0.1)


def test_a_child_hangs_after_two_unanswered_pings() -> None:
    children = Children()
    children.check(10.0)
    children.answers_s[0] = 10.1
    assert children.check(11.0) == Finding([], [DISPATCHER, WORKER], healthy=False)
    children.answers_s[0] = 11.1
    assert children.check(12.0) == Finding([WORKER], [DISPATCHER], healthy=False)


def test_a_late_answer_resets_the_count() -> None:
    children = Children()
    children.check(10.0)
    children.all_answer(10.1)
    children.check(11.0)
    children.answers_s[0] = 11.1
    assert not children.check(12.0).healthy
    children.all_answer(12.05)
    assert children.check(13.0).healthy


def test_the_next_child_in_the_slot_starts_at_zero() -> None:
    children = Children()
    for now_s in (10.0, 11.0, 12.0):
        children.answers_s[0] = now_s
        found = children.check(now_s)
    assert found.hung == [WORKER]
    children.living = [DISPATCHER, Child(1, 202, 12.0)]
    children.answers_s[0] = 13.0
    assert children.check(13.0).healthy


def test_a_machine_that_slept_is_no_hang() -> None:
    children = Children()
    children.check(10.0)
    # No process ran for an hour; the last ping is still unanswered.
    assert children.check(3610.0).hung == []
    children.all_answer(3610.1)
    assert children.check(3611.0).healthy
