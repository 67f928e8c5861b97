"""Children that hang are killed once, and do not make the service seem unhealthy afterwards."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from queued.core import times
from queued.service.log import LogOutput
from queued.service.supervisor.children import Children
from queued.service.supervisor.health_check import HealthCheck
from queued.service.supervisor.watchdog import Watchdog
from tests.service import eventually, states_of


@pytest.fixture
def hung() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that answers no ping, and that nothing collects: it seems not to die."""
    ignore = "trap '' USR1; echo; while :; do sleep 1; done"
    with subprocess.Popen(["sh", "-c", ignore], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_child_that_does_not_die_is_killed_once_and_then_left_out(
    hung: "subprocess.Popen[bytes]",
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    table = Children(1)
    table.started(1, hung.pid, 0.0)
    health = HealthCheck(table, Watchdog(6.0, lambda _slot: 0.0))
    log, found = LogOutput("info", "json").log(), []
    for now_s in range(100, 106):
        monkeypatch.setattr(times, "monotonic_s", lambda now_s=now_s: now_s)
        found.append(health.check(log, jobs_run=False))
    assert found == [True, False, False, True, True, True]
    assert capfd.readouterr().out.count("child.hung") == 1
    assert [child.pid for child in health.undead()] == [hung.pid]
    eventually(lambda: states_of([hung.pid]) == {"Z"})
    assert health.dead_for_a_tracer() == [hung.pid]
    assert hung.wait() == -signal.SIGKILL
