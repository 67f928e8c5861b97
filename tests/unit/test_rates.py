"""Rates as users write them, and as they are shown."""

import pytest

from queued.core import rates
from queued.core.errors import UsageError


@pytest.mark.parametrize(
    ("given", "rate", "shown"),
    [
        ("10/minute", (10, 60_000), "10/minute"),
        ("10/s", (10, 1000), "10/second"),
        ("100/hour", (100, 3_600_000), "100/hour"),
        ("1 / day", (1, 86_400_000), "1/day"),
        ("5/30s", (5, 30_000), "5/30s"),
        ("5/90", (5, 90_000), "5/90s"),
        ("7/1h30m", (7, 5_400_000), "7/90m"),
        ("7/2h", (7, 7_200_000), "7/2h"),
        ("100000/1500ms", (100_000, 1500), "100000/1500ms"),
    ],
)
def test_a_rate_is_read_and_shown(given: str, rate: tuple[int, int], shown: str) -> None:
    assert rates.parse(given) == rate
    assert str(rates.parse(given)) == shown
    assert rates.parse(shown) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "10", "10/", "/s", "0/s", "-1/s", "1.5/s", "x/s", "100001/s", "9" * 5000 + "/s"),
        *("1/0", "1/999ms", "1/month", "1/2d", "1/s/s", "\u0661/s"),
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a rate is N/TIME"):
        rates.parse(text)
