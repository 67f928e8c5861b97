"""The runs that ended in each minute and each hour: counts, and histograms for `stats`.

A run is counted in the minute of its end. Minutes are added up to hours after a few hours, so that
a long span has few rows, and hours are forgotten after a month.
"""

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
MINUTES_READ_MS = HOUR_MS  # spans up to this length begin at a minute, others at an hour
MINUTES_KEPT_MS = 2 * HOUR_MS  # longer, because clocks of hosts differ
HOURS_KEPT_MS = 31 * 24 * HOUR_MS


def span_begin(since_ms: int, now_ms: int) -> int:
    """Returns the begin of the minute or hour from which on runs are counted exactly."""
    kept_ms = max(since_ms, now_ms - HOURS_KEPT_MS)
    length_ms = MINUTE_MS if now_ms - kept_ms <= MINUTES_READ_MS else HOUR_MS
    return kept_ms // length_ms * length_ms
