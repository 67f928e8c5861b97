"""Reads points in time that people write: `03:00`, `monday 9am`, `tomorrow 03:00 Europe/Berlin`.

Imported only when such a time is given. It guesses nothing: a text has at most one day, one time of
the day and one time zone, and each must be valid.
"""

import re
from datetime import date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TWELVE_HOURS = re.compile(r"(1[0-2]|0?[1-9])(?::([0-5][0-9]))?(am|pm)")


def parse_phrase(text: str, now_ms: int, default_zone: tzinfo | None = None) -> datetime:
    """Returns the time that a day, a time of the day, or both name, in a zone that may follow them.

    A time without a day, and a weekday, mean the next one after `now_ms`. A day without a time
    means its first moment. Without a zone it is a time of `default_zone`; if that is None, the
    result is naive, for local time. Raises ValueError.
    """
    words = text.lower().split()
    own_zone = _zone(text.rsplit(maxsplit=1)[-1]) if words else None
    zone = own_zone or default_zone
    now = datetime.fromtimestamp(now_ms / 1000, zone)
    days, clocks = _days_and_clocks(words[:-1] if own_zone else words, now.date())
    if len(days) > 1 or len(clocks) > 1 or not days + clocks:
        raise ValueError(text)
    day, period = days[0] if days else (now.date(), timedelta(days=1))
    first = datetime.combine(day, clocks[0] if clocks else time(), zone)
    return first if first > now else first + period


def _zone(word: str) -> tzinfo | None:
    """Returns the zone of `Z`, `+02:00` or `Europe/Berlin`; None if the word is no zone."""
    try:
        return time.fromisoformat(f"00:00{word}").tzinfo
    except ValueError:
        pass
    try:
        return ZoneInfo(word)
    except (KeyError, ValueError, OSError):  # OSError: the name of a directory of zones
        return None


def _days_and_clocks(
    words: list[str], today: date
) -> tuple[list[tuple[date, timedelta]], list[time]]:
    """Returns what the words mean: days with the time until the next of that name, and times."""
    days, clocks = [], []
    for word in words:
        if (clock := _clock(word)) is not None:
            clocks.append(clock)
        else:
            days.append(_day(word, today))
    return days, clocks


def _day(word: str, today: date) -> tuple[date, timedelta]:
    """Returns a day, and the time until the next day of that name; 0 if there is no other."""
    if word in {"today", "tomorrow"}:
        return today + timedelta(days=word == "tomorrow"), timedelta()
    for number, name in enumerate(_WEEKDAYS):
        if word in {name, name[:3]}:
            return today + timedelta(days=(number - today.weekday()) % 7), timedelta(days=7)
    return date.fromisoformat(word), timedelta()


def _clock(word: str) -> time | None:
    """Returns the time of `03:00`, `3:00:30` or `3am`; None if the word is no time of the day."""
    twelve = _TWELVE_HOURS.fullmatch(word)
    if twelve:
        hour = int(twelve[1]) % 12 + (12 if twelve[3] == "pm" else 0)
        return time(hour, int(twelve[2] or 0))
    if not re.fullmatch(r"[0-9]{1,2}:[0-9:]+", word):
        return None
    return time.fromisoformat(word.zfill(5) if word.count(":") == 1 else word.zfill(8))
