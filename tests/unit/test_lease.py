"""The lease: the order of its times, its renewal, and the observation of other hosts."""

from unittest.mock import Mock

import pytest

from queued.core import times
from queued.core.errors import EvictedError
from queued.core.lease import Lease
from queued.core.model import Instance
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.dispatcher.lease_keeper import LeaseKeeper, LeaseObserver
from queued.service.ipc.run_notes import RunNotes
from queued.service.ipc.scoreboard import Scoreboard

OWN = Instance("own", "host", 1, "1", 0, None, lease_s=120)


class Clock:
    """A clock since boot that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(times, "boot_s", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("length_s", [15, 30, 120, 3600])
@pytest.mark.parametrize("grace_s", [0, 10, 86_400])
def test_all_is_dead_long_before_another_host_takes_over(length_s: float, grace_s: float) -> None:
    lease = Lease(length_s)
    passed_s = [
        0, lease.renewal_s, lease.claiming_s, lease.term_s(grace_s), lease.kill_s, lease.end_s,
        lease.length_s, lease.takeover_s,
    ]  # fmt: skip
    assert passed_s == sorted(passed_s)
    assert lease.kill_s < lease.end_s
    assert (lease.takeover_s - lease.end_s) / lease.takeover_s > 0.15  # of a slow clock's error


def test_the_times_of_the_default_lease() -> None:
    lease = Lease(120)
    assert [lease.term_s(10), lease.kill_s, lease.end_s, lease.takeover_s] == [95, 105, 110, 130]


def test_a_lease_counts_from_before_the_renewal_was_sent(
    clock: Clock, scoreboard: Scoreboard
) -> None:
    deadlines = Deadlines()
    keeper = LeaseKeeper(Mock(), OWN, scoreboard, deadlines)
    keeper.begin()
    clock.now_s += 7
    keeper.renew()
    keeper.on_committed(5)
    assert scoreboard.lease == Lease(120)
    assert scoreboard.renewed_s == 1000
    assert deadlines.next_s == 15
    clock.now_s = 1029.9
    assert keeper.may_claim
    clock.now_s = 1030
    assert not keeper.may_claim


def test_a_renewal_that_is_refused_ends_the_service(scoreboard: Scoreboard) -> None:
    ledger = Mock()
    ledger.renew.return_value = False
    keeper = LeaseKeeper(ledger, OWN, scoreboard, Deadlines())
    keeper.begin()
    with pytest.raises(EvictedError, match="another host has taken over"):
        keeper.renew()
    without = LeaseKeeper(ledger, OWN._replace(lease_s=0), scoreboard, Deadlines())
    without.begin()
    without.renew()
    without.on_committed(5)
    assert scoreboard.lease is None
    assert without.may_claim


def test_a_lease_is_over_when_the_same_beat_was_seen_for_long_enough(clock: Clock) -> None:
    observer = LeaseObserver()
    assert observer.next_s() == times.NEVER_S
    for beat in (7, 8):  # a renewal that is seen starts the time again
        other = OWN._replace(id="other", beat=beat)
        observer.observe([other])
        assert observer.next_s() == pytest.approx(times.monotonic_s() + 130, abs=1)
        clock.now_s += 129.9
        observer.observe([other])
        assert not observer.over([other])
    clock.now_s += 0.1
    assert observer.over([other]) == [other]


def test_an_instance_that_comes_back_is_observed_anew(clock: Clock) -> None:
    observer = LeaseObserver()
    other = OWN._replace(id="other", beat=7)
    observer.observe([other])
    observer.observe([])
    clock.now_s += 200
    observer.observe([other])
    assert not observer.over([other])


@pytest.fixture
def scoreboard(tmp_path_factory: pytest.TempPathFactory) -> Scoreboard:
    with (tmp_path_factory.mktemp("lock") / "lock").open("w+b") as file:
        return Scoreboard(RunNotes(file.fileno()))
