"""The end of a run's time, if the wall clock was set or the machine has slept meanwhile."""

from queued.core.job_options import JobOptions
from queued.service.worker.time_limit import TimeLimit, limit_of
from tests.claims import make_run

START_MS = 1_800_000_000_000
HOUR_S, HOUR_MS = 3600.0, 3_600_000


def limit(*, wall_ms: int, now_s: float = 10.0, timeout_s: float = 0.0) -> TimeLimit:
    """Returns the limit of a run that began at 0 s, with a deadline an hour later."""
    options = JobOptions(deadline="2027-01-15T09:00:00Z")
    run = make_run(timeout_s=timeout_s, options=options)
    return limit_of(run, started_s=0.0, now_s=now_s, now_ms=wall_ms)


def test_a_deadline_is_a_time_of_the_wall_clock() -> None:
    assert limit(wall_ms=START_MS + 10_000).end_s == HOUR_S
    assert limit(wall_ms=START_MS + 10_000 + HOUR_MS).end_s == 0.0, "an hour forth, or of sleep"
    assert limit(wall_ms=START_MS + 10_000 - HOUR_MS).end_s == 2 * HOUR_S, "an hour back"


def test_a_timeout_begins_at_the_start_whatever_the_clock_shows() -> None:
    for now_s in (0.0, 10.0, 99.0):
        assert limit(wall_ms=START_MS, now_s=now_s, timeout_s=100.0) == TimeLimit(100.0)
