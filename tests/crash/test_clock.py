"""The wall clock is set, an hour or a year, forth and back, while jobs run, wait and retry.

The programs are real ones whose wall clock is off by what a file says; the time since boot is not.
"""

import os
import time
from pathlib import Path

import pytest

from queued.core import times
from tests.crash.kill_scenario import KillScenario
from tests.service import Service, altered, eventually

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
IN_TIME_NAMESPACE = f"""
import os, sys
inside = ["unshare", "--time", "--boottime={HOUR_MS}", "--fork", "--kill-child"]
os.execvp("unshare", [*inside, sys.executable, "-m", "queued", *sys.argv[1:]])
"""
JUMPS = (-HOUR_MS, YEAR_MS)


class Clock:
    """Sets the clock of a service, and wakes it as the kernel does when the clock is set."""

    def __init__(self, scenario: KillScenario) -> None:
        self._scene = scenario
        self.path = scenario.queue.directory.parent / "offset"
        self.path.write_text("0")

    def serve(self, *others: str) -> Service:
        """A service that has this clock."""
        return self._scene.serve(*altered(f"clock={self.path}", *others)).ready()

    def set(self, offset_ms: int) -> None:
        """Sets the clock of the services so far off the real one."""
        new = Path(f"{self.path}.new")
        new.write_text(str(offset_ms))
        new.replace(self.path)
        self._scene.queue.configure("backoff_base", "2")


@pytest.fixture
def clock(scenario: KillScenario) -> Clock:
    return Clock(scenario)


@pytest.mark.parametrize("jump_ms", JUMPS)
def test_a_running_job_ends_in_its_own_time(
    scenario: KillScenario, clock: Clock, jump_ms: int
) -> None:
    service = clock.serve()
    scenario.add("job", "sleep 0.8", timeout=30)
    eventually(lambda: scenario.started("job"))
    clock.set(jump_ms)
    assert scenario.broken_promises() == []
    (run,) = scenario.queue.attempts("job")
    assert run.outcome == "exit"
    assert run.ran_ms is not None
    assert 700 < run.ran_ms < 10_000
    assert not service.logged("child.died")


def test_a_running_job_ends_at_its_deadline_though_the_clock_was_set(
    scenario: KillScenario, clock: Clock
) -> None:
    """It had ended an hour later, because the time that was left was measured at its start."""
    clock.serve("restless_alarms")
    deadline = times.iso(times.now_ms() + HOUR_MS)
    scenario.add("job", "sleep 1000", deadline=deadline, kill_grace=1)
    eventually(lambda: scenario.started("job"))
    clock.set(2 * HOUR_MS)
    job = scenario.queue.wait("job")
    assert job.last_error == f"timeout: the deadline {deadline} has passed"


@pytest.mark.parametrize("jump_ms", JUMPS)
def test_a_retry_waits_its_delay(scenario: KillScenario, clock: Clock, jump_ms: int) -> None:
    """The retry comes neither at once nor a year later."""
    service = clock.serve()
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ]", backoff_base=2, backoff_max=2)
    _retries_in_time(scenario, clock, jump_ms)
    assert service.logged("clock.shifted")


def test_a_retry_waits_its_delay_though_the_turn_that_saw_it_was_refused(
    scenario: KillScenario, clock: Clock
) -> None:
    """The disk was full at that moment, so the turn was rolled back and moved no retry."""
    service = clock.serve("refused_shift")
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ]", backoff_base=2, backoff_max=2)
    _retries_in_time(scenario, clock, -HOUR_MS)
    assert service.logged("database.refused")
    assert len(service.logged("clock.shifted")) == 1, "not before the commit"


def _retries_in_time(scenario: KillScenario, clock: Clock, jump_ms: int) -> None:
    eventually(lambda: scenario.queue.job("job").label == "failed")
    failed_s = time.monotonic()
    clock.set(jump_ms)
    eventually(lambda: len(scenario.started("job")) == 2, within_s=15)
    assert 1.5 < time.monotonic() - failed_s < 10
    assert scenario.queue.wait("job").label == "completed"


def test_a_run_at_time_of_a_user_does_not_move_with_the_clock(
    scenario: KillScenario, clock: Clock
) -> None:
    clock.serve()
    scenario.add("job", "true", run_at=(times.now_ms() + HOUR_MS // 2) / 1000)
    scenario.queue.wait(scenario.add("first", "true"))
    assert scenario.queue.job("job").label == "scheduled"
    clock.set(HOUR_MS)
    assert scenario.queue.wait("job").label == "completed"


def test_a_clock_jump_while_no_service_runs(scenario: KillScenario, clock: Clock) -> None:
    service = clock.serve()
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ]", backoff_base=2, backoff_max=2)
    eventually(lambda: scenario.queue.job("job").label == "failed")
    assert service.stop() == 0
    clock.set(-HOUR_MS)
    clock.serve()
    assert scenario.queue.wait("job").label == "completed"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a time namespace")
def test_a_time_namespace_moves_no_retry(scenario: KillScenario) -> None:
    """As for a service in a container that was restored on another machine."""
    first = scenario.serve().ready()
    scenario.add("job", "exit 1", backoff_base=1000, backoff_max=1000)
    before = scenario.queue.wait("job", "failed").next_run_at_ms
    assert first.stop() == 0
    second = scenario.serve("-c", IN_TIME_NAMESPACE).ready()
    assert scenario.queue.wait(scenario.add("other", "cat /proc/uptime")).label == "completed"
    assert float(scenario.queue.output("other").split()[0]) > HOUR_MS / 1000
    assert scenario.queue.job("job").next_run_at_ms == before
    assert not second.logged("clock.shifted")
