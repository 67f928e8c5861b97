"""Cron expressions: known times, changes of the clocks, and texts that are refused."""

import math
from datetime import UTC, datetime
from itertools import islice, takewhile
from pathlib import Path

import pytest

from queued.core import cron
from queued.core.errors import UsageError

KNOWN = [
    tuple(part.strip() for part in line.split("|"))
    for line in (Path(__file__).parent / "cron_times.txt").read_text("utf-8").splitlines()[1:]
]
MINUTE = 60_000


def _ms(text: str) -> int:
    return math.floor(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize("known", KNOWN, ids=" ".join)
def test_known_times(known: tuple[str, ...]) -> None:
    zone, start, expression, listed = known
    expected = [_ms(text) for text in listed.removeprefix("not ").split()]
    text = cron.check_expression(expression)
    found = [*islice(cron.times_after(text, zone, _ms(start)), len(expected))]
    assert (found == expected) is not listed.startswith("not ")


@pytest.mark.parametrize("start", ["03:30:00+03:00", "03:10:00+02:00", "03:50:00+02:00"])
def test_no_time_is_named_again_in_the_hour_that_a_clock_repeats(start: str) -> None:
    """Asked anew after each minute, as the dispatcher asks."""
    after = _ms(f"2021-10-31T{start}")
    while after < _ms("2021-10-31T05:00:00+02:00"):
        (found,) = islice(cron.times_after("45 3 * * *", "Europe/Riga", after), 1)
        assert found > after
        after += MINUTE


def test_times_that_a_clock_skips_come_once() -> None:
    found = cron.times_after("15,45 3 * * *", "Europe/Riga", _ms("2021-03-28T00:00+02:00"))
    assert [*islice(found, 2)] == [_ms("2021-03-28T04:00+03:00"), _ms("2021-03-29T03:15+03:00")]


@pytest.mark.parametrize(
    ("expression", "count"),
    [("* * * * *", 1), ("* * * * *", 100), ("0 0 29 2 *", 1), ("@daily", 3)],
)
def test_the_latest_times_are_the_last_of_all(expression: str, count: int) -> None:
    first, last = _ms("2019-12-31T00:00+00:00"), _ms("2020-03-02T00:00:30+00:00")
    times = cron.times_after(expression, "UTC", first - 1)
    every = [*takewhile(lambda ms: ms <= last, times)]
    assert cron.latest_times(expression, "UTC", first, last, count) == tuple(every[-count:])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("@reboot", "a queue outlives a reboot"),
        ("@every 5m", "@hourly"),
        ("* * * *", "give five fields: minute 0-59"),
        ("* * * * * *", "give five fields"),
        ("61 * * * *", "its minute is not valid"),
        ("0 0 30 2 *", "its day of the month is in none of its months"),
        ("0 0 * * mon-sun", "its day of week is not valid"),
        ("", "give five fields"),
        ("0 " * 300, "give five fields"),
    ],
)
def test_what_is_no_expression_is_refused_with_what_is(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        cron.check_expression(text)


@pytest.mark.parametrize("name", ["Europe/Berln", "", "Europe", "../etc/passwd", "/etc/passwd"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unknown time zone"):
        cron.check_zone(name)


def test_the_zone_of_the_system_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert cron.local_zone() == "Asia/Tokyo"
    monkeypatch.delenv("TZ")
    cron.check_zone(cron.local_zone())


def test_times_end_with_the_calendar() -> None:
    last = round(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
    assert [*cron.times_after("@monthly", "UTC", last)] == []
