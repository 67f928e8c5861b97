"""Statistics of runs: the quantiles, and which runs count as failed."""

import pytest

from queued.core.run_stats import Durations, EndedRun, RunStats, bucket


@pytest.mark.parametrize("scale", [1, 37, 86_400])
def test_a_quantile_errs_by_three_percent_at_most(scale: int) -> None:
    durations = Durations()
    for ms in range(1, 1001):
        durations.add(bucket(ms * scale))
    for fraction in (0.5, 0.95, 0.99):
        found = durations.quantile_s(fraction)
        assert found == pytest.approx(fraction * scale, rel=0.031)


def test_there_is_no_quantile_of_nothing() -> None:
    assert Durations().quantile_s(0.5) is None
    assert RunStats().success is None


def test_a_deferred_cancelled_or_expired_run_is_neither_a_success_nor_a_failure() -> None:
    stats = RunStats()
    plain = EndedRun(1, 1, 1, "q", "c", "exit", 0, 0, 5, 7, 10, 100)
    for run in (
        plain,
        plain._replace(exit_code=75, deferrals=2, number=2),
        plain._replace(exit_code=None, outcome="cancelled", peak_kib=None),
        plain._replace(exit_code=None, outcome="expired", number=2, ran_ms=None, cpu_ms=None),
        plain._replace(exit_code=None, outcome="lost", ran_ms=None, peak_kib=200),
    ):
        stats.add(run)
    counts = (stats.runs, stats.completed, stats.failed, stats.retries, stats.cpu_ms)
    assert counts == (5, 1, 1, 1, 40)
    assert (stats.success, stats.peak_kib) == (0.5, 200)
