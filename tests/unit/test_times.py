"""Text forms of times and durations."""

import math
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.core import times
from queued.core.errors import UsageError
from queued.core.times import LATEST_MS, iso, parse_duration, parse_when, short_duration


@given(st.integers(0, LATEST_MS))
def test_a_time_survives_being_written(ms: int) -> None:
    assert parse_when(iso(ms)) == ms


@given(st.integers(0, LATEST_MS), st.integers(0, LATEST_MS))
def test_written_times_sort_as_times_do(one: int, other: int) -> None:
    assert (iso(one) < iso(other)) is (one < other)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_769_860_800_007, "2026-01-31T12:00:00.007Z"),
        (LATEST_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_iso(ms: int, text: str) -> None:
    assert iso(ms) == text


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (1.5, 1500),
        (1_769_860_800, 1_769_860_800_000),
        ("2026-01-31T12:00:00Z", 1_769_860_800_000),
        ("2026-01-31T14:00:00.250+02:00", 1_769_860_800_250),
    ],
)
def test_times_that_are_taken(value: object, ms: int) -> None:
    assert parse_when(value) == ms


def test_without_an_offset_it_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-3")
    time.tzset()
    try:
        assert parse_when("1970-01-01T03:00:00") == 0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes Berlin the local zone, at noon (UTC) of Friday 27 November 2026."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    monkeypatch.setattr(times, "now_ms", lambda: 1_795_780_800_000)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "utc"),
    [
        *(("03:00", "28T02:00"), ("3am", "28T02:00"), ("18:00", "27T17:00")),
        *(("tomorrow 03:00", "28T02:00"), ("12pm tomorrow", "28T11:00"), ("tomorrow", "27T23:00")),
        *(("today 3:00", "27T02:00"), ("fri 18:00", "27T17:00"), ("Monday 9:30pm", "30T20:30")),
        *(("03:00 UTC", "28T03:00"), ("03:00 +05:30", "27T21:30")),
        ("2026-11-30 03:00 America/New_York", "30T08:00"),
    ],
)
def test_times_as_people_write_them(text: str, utc: str) -> None:
    assert iso(parse_when(text)) == f"2026-11-{utc}:00.000Z"


@pytest.mark.usefixtures("berlin")
def test_the_next_friday_is_in_a_week_if_its_time_is_past() -> None:
    assert iso(parse_when("friday 9:00")) == "2026-12-04T08:00:00.000Z"


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("zone", ["", " Europe/Berlin"])
def test_a_time_that_a_change_of_the_clocks_repeats_or_skips_is_refused(zone: str) -> None:
    with pytest.raises(UsageError, match=r"give 2027-10-31T02:30:00\+02:00 or .*\+01:00$"):
        parse_when(f"2027-10-31 02:30{zone}")
    with pytest.raises(UsageError, match="there is no 2027-03-28 02:30:00"):
        parse_when(f"2027-03-28 02:30{zone}")
    assert iso(parse_when("2027-10-31 02:30+01:00")) == "2027-10-31T01:30:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        *("10", "0300", "25:00", "13pm", "tomorrow 25:00", "today tomorrow", "03:00 04:00", "UTC"),
        *("03:00 Europe", "03:00 Europe/Nowhere", "2026-02-30 03:00", "03:00 soon"),
    ],
)
def test_a_time_is_never_guessed(text: str) -> None:
    with pytest.raises(UsageError, match="not a time"):
        parse_when(text)


@pytest.mark.parametrize(
    "value",
    [
        *(-1, -0.5, LATEST_MS, 1e300, 10**5000, math.nan, math.inf, -math.inf),
        *("", "soon", "2026-13-01", "1969-12-31T23:59:59Z", "0001-01-01", "9" * 5000, "\0"),
        *(True, None, [], {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_times_that_are_refused(value: object) -> None:
    with pytest.raises(UsageError, match="time") as refusal:
        parse_when(value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("1.5", 1.5), (".5", 0.5), ("500ms", 0.5), ("10m", 600), ("2h", 7200)),
        *(("1d", 86_400), (" 3s ", 3), ("0", 0), ("1h30m", 5400), ("5 min", 300), ("1w", 604_800)),
        *(("2 days 3 hours", 183_600), ("1.5 h", 5400)),
    ],
)
def test_durations_that_are_taken(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1", "-5 min", "1e3", "nan", "inf", "1h30", "1.", "9x", "03:00", "9" * 200 + " min"],
)
def test_durations_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**9), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_written_duration_means_itself(number: int, unit: str) -> None:
    in_seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]
    assert parse_duration(f"{number}{unit}") == pytest.approx(number * in_seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-5, "0.0s"), (0.24, "0.2s"), (10, "10s"), (59.9, "59s"), (192, "3m12s")),
        *((3600, "1h00m"), (18_420, "5h07m"), (86_400, "1d0h"), (1_048_000, "12d3h")),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


def test_the_clocks_are_the_machines() -> None:
    assert abs(times.now_ms() - time.time() * 1000) < 5000
    assert times.monotonic_s() <= time.monotonic()
    assert 0 < times.boot_ms() <= time.clock_gettime(time.CLOCK_BOOTTIME) * 1000 + 1
