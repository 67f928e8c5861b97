"""A stop ends what runs (SIGQUIT to each worker) just when the dispatcher sends a worker a run."""

import signal

import pytest

from tests.crash.kill_scenario import KillScenario
from tests.service import altered, eventually

NOT_STARTED = ("run: sent, not begun", "run: begun, not started")
STARTED = ("run: started, not known", "run: known")
ENDED = ("run: exited, not reported", "run: reported, not recorded")


def _outcomes(scenario: KillScenario, alteration: str) -> list[str]:
    """How the runs of the job ended: with a service that stops meanwhile, then with another."""
    first = scenario.serve(*altered(alteration), workers=1)
    assert first.ended() == 0
    assert scenario.mark.exists()
    scenario.serve(workers=1)
    assert scenario.broken_promises() == []
    job = scenario.queue.job("job")
    assert (job.label, job.attempts) == ("completed", 0)
    return [str(run.outcome) for run in scenario.queue.attempts("job")]


@pytest.mark.parametrize("then", ["read", "unread"])
def test_the_signal_comes_first(scenario: KillScenario, then: str) -> None:
    """The worker gives the run back, or leaves without having seen it: it was never begun."""
    scenario.add("job", "true")
    assert _outcomes(scenario, f"stop_before_run={scenario.mark}|{then}") == ["exit"]
    assert scenario.started("job") == [1]


@pytest.mark.parametrize("point", [*NOT_STARTED, *STARTED, *ENDED])
def test_the_run_comes_first(scenario: KillScenario, point: str) -> None:
    scenario.add("job", "true" if point in ENDED else "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 30")
    outcomes = _outcomes(scenario, f"kill_point={point}|stop|{scenario.mark}")
    if point in ENDED:
        assert (outcomes, scenario.started("job")) == (["exit"], [1])
    else:
        assert outcomes == ["interrupted", "exit"]


def test_a_service_that_is_stopped_while_its_workers_are_busiest(scenario: KillScenario) -> None:
    """No run counts as failed, is lost, or runs twice at once."""
    for n in range(200):
        scenario.add(f"j{n}", "true")
    for _ in range(8):
        service = scenario.serve(workers=4)
        ended = scenario.queue.count("completed")
        eventually(lambda: scenario.queue.count("completed") > ended)  # noqa: B023 - called at once
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGINT)
        assert service.ended() == 0
        if scenario.queue.count("completed") == 200:
            break
    scenario.serve(workers=4)
    assert scenario.broken_promises() == []
    assert {(job.label, job.attempts) for job in scenario.queue.jobs()} == {("completed", 0)}
