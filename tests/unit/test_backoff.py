"""When a failed job runs again, and when a child is started again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.core.backoff import backoff_s, deferral_s, restart_s

BASES = st.floats(1, 1e300) | st.integers(1, 10**300)
MAXIMA = st.floats(0, 31_536_000)


@pytest.mark.parametrize(
    ("attempts", "base", "maximum", "delay"),
    [
        (1, 2, 3600, 2),
        (2, 2, 3600, 4),
        (11, 2, 3600, 2048),
        (12, 2, 3600, 3600),
        (3, 1.5, 3600, 3.375),
        (5, 1, 3600, 1),
        (1, 2, 0, 0),
        (1_000_000, 1e300, 3600, 3600),
    ],
)
def test_the_delay(attempts: int, base: float, maximum: float, delay: float) -> None:
    assert backoff_s(attempts, base=base, maximum=maximum) == delay


@pytest.mark.parametrize(
    ("deferrals", "maximum", "delay"),
    [(1, 3600, 30), (2, 3600, 60), (7, 3600, 1920), (8, 3600, 3600), (3, 10, 30), (10**6, 60, 60)],
)
def test_a_deferral_grows_from_its_first_delay(
    deferrals: int, maximum: float, delay: float
) -> None:
    assert deferral_s(deferrals, first=30, base=2, maximum=maximum) == delay


@given(st.integers(1, 10**9), BASES, MAXIMA)
def test_the_delay_never_overflows_and_never_exceeds_its_maximum(
    attempts: int, base: float, maximum: float
) -> None:
    delay = backoff_s(attempts, base=base, maximum=maximum)
    assert math.isfinite(delay)
    assert 0 <= delay <= maximum


@given(st.integers(1, 1000), st.floats(1, 100), MAXIMA)
def test_the_delay_never_shrinks(attempts: int, base: float, maximum: float) -> None:
    now, later = (backoff_s(n, base=base, maximum=maximum) for n in (attempts, attempts + 1))
    assert now <= later


@given(st.integers(1, 100), st.floats(0, 1))
def test_jitter_stays_within_its_fraction(attempts: int, jitter: float) -> None:
    plain = backoff_s(attempts, base=2, maximum=3600)
    delay = backoff_s(attempts, base=2, maximum=3600, jitter=jitter)
    assert plain * (1 - jitter) - 1e-6 <= delay <= plain * (1 + jitter) + 1e-6


def test_jitter_spreads_to_both_sides() -> None:
    delays = [backoff_s(3, base=2, maximum=3600, jitter=0.5) for _ in range(200)]
    assert min(delays) < 8 < max(delays)


def test_a_child_restarts_at_once_then_later_and_later() -> None:
    assert [restart_s(deaths) for deaths in range(6)] == [0, 0, 0.1, 0.2, 0.4, 0.8]


@given(st.integers(0, 10**9))
def test_a_restart_is_never_later_than_its_maximum(deaths: int) -> None:
    assert 0 <= restart_s(deaths) <= 30
    assert restart_s(deaths) <= restart_s(deaths + 1)
