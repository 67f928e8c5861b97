"""A stop ends what runs (SIGQUIT to each worker) just when the dispatcher sends a worker a run."""

import signal

import pytest

from tests.crash.kill_scenario import Scene
from tests.service import eventually

NOT_STARTED = ("run: sent, not begun", "run: begun, not started")
STARTED = ("run: started, not known", "run: known")
ENDED = ("run: exited, not reported", "run: reported, not recorded")


def _outcomes(scene: Scene, alteration: str) -> list[str]:
    """How the runs of the job ended: with a service that stops meanwhile, then with another."""
    first = scene.serve("-m", "tests.crash.fault_injection", alteration, "queued", workers=1)
    assert first.ended() == 0
    assert scene.mark.exists()
    scene.serve(workers=1)
    assert scene.broken() == []
    job = scene.queue.job("job")
    assert (job.label, job.attempts) == ("completed", 0)
    return [str(run.outcome) for run in scene.queue.attempts("job")]


@pytest.mark.parametrize("then", ["read", "unread"])
def test_the_signal_comes_first(scene: Scene, then: str) -> None:
    """The worker gives the run back, or leaves without having seen it: it was never begun."""
    scene.add("job", "true")
    assert _outcomes(scene, f"quits_first={scene.mark}|{then}") == ["exit"]
    assert scene.started("job") == [1]


@pytest.mark.parametrize("point", [*NOT_STARTED, *STARTED, *ENDED])
def test_the_run_comes_first(scene: Scene, point: str) -> None:
    scene.add("job", "true" if point in ENDED else "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 30")
    outcomes = _outcomes(scene, f"tripwire={point}|stop|{scene.mark}")
    if point in ENDED:
        assert (outcomes, scene.started("job")) == (["exit"], [1])
    else:
        assert outcomes == ["interrupted", "exit"]


def test_a_service_that_is_stopped_while_its_workers_are_busiest(scene: Scene) -> None:
    """Whatever each worker was at, no run counts, and none is lost or made twice at once."""
    for n in range(200):
        scene.add(f"j{n}", "true")
    for _ in range(8):
        service = scene.serve(workers=4)
        ended = scene.queue.count("completed")
        eventually(lambda: scene.queue.count("completed") > ended)  # noqa: B023 - called at once
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGINT)
        assert service.ended() == 0
        if scene.queue.count("completed") == 200:
            break
    scene.serve(workers=4)
    assert scene.broken() == []
    assert {(job.label, job.attempts) for job in scene.queue.jobs()} == {("completed", 0)}
