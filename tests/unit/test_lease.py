"""The lease: the order of its times, its renewal, and the observation of other hosts."""

from unittest.mock import MagicMock, Mock

import pytest

from queued.core import times
from queued.core.errors import BusyError, EvictedError, StorageError
from queued.core.lease import IdleRenewal, Lease, Renewal
from queued.core.model import Instance
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.dispatcher.lease_keeper import LeaseKeeper, LeaseObserver
from queued.service.dispatcher.quarantine import Quarantine
from queued.service.ipc.run_notes import RunNotes
from queued.service.ipc.scoreboard import Scoreboard
from tests.default_settings import DEFAULTS

OWN = Instance("own", "host", 1, "1", 0, None, lease_s=120)


def _ledger(renewal: Renewal | None) -> Mock:
    """A ledger that answers so to each renewal, always by the same connection."""
    return Mock(**{"renew.return_value": renewal, "connections.return_value": 1})


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
    keeper = LeaseKeeper(_ledger(Renewal(1, "s/1", "s/1", 120)), OWN, scoreboard, deadlines, Mock())
    keeper.begin()
    clock.now_s += 7
    keeper.renew(DEFAULTS)
    keeper.on_committed(5)
    assert scoreboard.lease == Lease(120)
    assert scoreboard.renewed_s == 1000
    assert deadlines.next_s == 15
    clock.now_s = 1029.9
    assert keeper.may_claim
    clock.now_s = 1030
    assert not keeper.may_claim


def test_a_renewal_that_is_refused_ends_the_service(scoreboard: Scoreboard) -> None:
    ledger = _ledger(None)
    keeper = LeaseKeeper(ledger, OWN, scoreboard, Deadlines(), Mock())
    keeper.begin()
    with pytest.raises(EvictedError, match="another host has taken over"):
        keeper.renew(DEFAULTS)
    without = LeaseKeeper(ledger, OWN._replace(lease_s=0), scoreboard, Deadlines(), Mock())
    without.begin()
    without.renew(DEFAULTS)
    without.on_committed(5)
    assert scoreboard.lease is None
    assert without.may_claim


def test_a_new_connection_renews_the_lease_and_restores_its_row(scoreboard: Scoreboard) -> None:
    """The server may be another one, which claims jobs only after the renewal has shown it."""
    ledger, deadlines = _ledger(Renewal(7, "s/1", "s/1", 120)), Deadlines()
    keeper = LeaseKeeper(ledger, OWN, scoreboard, deadlines, Mock())
    for connection, renewals in ((1, 1), (1, 1), (2, 2)):
        ledger.connections.return_value = connection
        keeper.renew(DEFAULTS)
        keeper.on_committed(5)
        assert ledger.renew.call_count == renewals
    ledger.connections.return_value = 3
    ledger.renew.side_effect = [None, Renewal(1, "s/2", "s/1", 120)]
    assert keeper.renew(DEFAULTS._replace(failover="lossless")), "the claims are compared, too"
    assert ledger.register.called
    keeper.on_rollback(StorageError(), 9)
    assert deadlines.next_s == 9, "the transaction was not committed"


def test_a_renewal_alone_leaves_it_to_the_next_turn_to_restore_claims(
    clock: Clock, scoreboard: Scoreboard
) -> None:
    """The new primary has no free connection for the turn, and one for the renewal after it."""
    ledger = MagicMock(**{"connections.return_value": 1, "renew.return_value": FIRST})
    keeper = LeaseKeeper(ledger, OWN, scoreboard, Deadlines(), Mock())
    keeper.renew(DEFAULTS)
    keeper.on_committed(5)
    clock.now_s += 3
    ledger.renew.return_value = Renewal(8, "s/1", "s/1", 120)
    keeper.on_rollback(BusyError(), 6)
    assert scoreboard.renewed_s == 1003, "the turn waited for a lock"
    ledger.transaction().__enter__.side_effect = lambda: ledger.connections.configure_mock(
        return_value=2
    )
    ledger.renew.return_value = Renewal(3, "s/2", "s/1", 120)
    clock.now_s += 3
    keeper.on_rollback(BusyError(), 9)
    assert scoreboard.renewed_s == 1003
    assert keeper.renew(DEFAULTS)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Renewal(8, "s/2", "s/1", 120),
        Renewal(3, "s/1", "s/1", 120),
        StorageError(),
    ],
)
def test_only_a_usual_renewal_needs_no_turn(
    scoreboard: Scoreboard, clock: Clock, answer: Renewal | StorageError | None
) -> None:
    """Otherwise the jobs were taken over, or the server is another one, or lacks commits."""
    usual = IdleRenewal(Renewal(8, "s/1", "s/1", 120), False, "", {})  # noqa: FBT003
    ledger = Mock(**{"connections.return_value": 1, "renew.return_value": FIRST})
    keeper = LeaseKeeper(ledger, OWN, scoreboard, Deadlines(), Mock())
    keeper.renew(DEFAULTS)
    keeper.on_committed(5)
    clock.now_s += 3
    found = usual._replace(renewal=answer) if isinstance(answer, Renewal) else answer
    ledger.renew_idle.side_effect = [found, usual]
    assert keeper.renew_idle([0]) is None
    assert scoreboard.renewed_s == 1000
    # The first one has nothing to compare its news with.
    assert keeper.renew_idle([0]) == usual._replace(has_work=True)
    assert scoreboard.renewed_s == 1003


FIRST = Renewal(7, "s/1", "s/1", 120)


@pytest.mark.parametrize(
    ("later", "lossless", "missing", "quarantine_s", "trusted"),
    [
        (Renewal(8, "s/1", "s/1", 120), False, False, None, None),
        (Renewal(8, "s/2", "s/1", 120), False, True, 130, None),
        (Renewal(8, "s/2", "s/1", 120), True, True, None, "s/2"),
        (Renewal(8, "t/1", "s/1", 600), True, True, 650, None),  # another server is no failover
        (Renewal(3, "s/2", "s/2", 120), False, True, None, None),  # another host has waited
        (Renewal(7, "s/1", "s/1", 120), True, True, 130, ""),  # a snapshot of the same server
    ],
)
def test_no_job_is_claimed_in_another_history_until_all_leases_are_over(
    clock: Clock,
    *,
    later: Renewal,
    lossless: bool,
    missing: bool,
    quarantine_s: float | None,
    trusted: str | None,
) -> None:
    ledger, log = Mock(), Mock()
    quarantine = Quarantine(ledger, log)
    assert not quarantine.observe(FIRST, lossless=lossless)
    quarantine.on_committed()
    assert not log.method_calls
    for _ in range(2):  # the first try is not committed
        quarantine.on_rollback()
        assert quarantine.observe(later, lossless=lossless) is missing
    quarantine.on_committed()
    assert log.warning.called is missing
    assert quarantine.over_s == (quarantine_s and clock.now_s + quarantine_s)
    assert {call.args for call in ledger.trust_history.mock_calls} == (
        set() if trusted is None else {(trusted,)}
    )
    if quarantine_s is None:
        return
    for passed_s in (quarantine_s - 0.1, 0.1):
        clock.now_s += passed_s
        assert quarantine.over_s is not None
        later = later._replace(beat=later.beat + 1, trusted="s/0")
        assert not quarantine.observe(later, lossless=False)
        quarantine.on_committed()
    assert quarantine.over_s is None
    assert ledger.trust_history.mock_calls[-1].args == (later.history,)
    assert log.info.called


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
