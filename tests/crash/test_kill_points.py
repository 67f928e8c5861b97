"""kill -9 before and after each critical step, of one process and of all processes."""

import os

import pytest

from queued.core import times
from queued.core.schedules import new_schedule
from tests.crash.kill_points import POINTS
from tests.crash.kill_scenario import KillScenario
from tests.open_descriptors import watches
from tests.service import eventually

PRINTED = b"".join(b"%d\n" % n for n in range(1, 3001))
COMMAND = "seq 1500; sleep 0.1; seq 1501 3000"
SLOW = "seq 1500; sleep 0.7; seq 1501 3000"  # its output is handed on before its end
FATAL = f"[ $QUEUED_ATTEMPT -gt 1 ] || {{ sleep 30 & kill -9 $PPID; sleep 30; }}; {COMMAND}"
BOTH = ("one", "all")
UNBEGUN = {
    "claim: taken, not committed",
    "claim: committed, not sent",
    "run: sent, not begun",
}


def _points(*kinds: str) -> list[str]:
    return [name for name in POINTS if name.split(":")[0] in kinds]


def _kill(scenario: KillScenario, point: str, victim: str, *, workers: int = 2) -> None:
    """Starts a service that is killed at the point; the next one if all of it was killed."""
    service = scenario.serve_armed(point, victim, workers=workers)
    scenario.wait_until_killed()
    if victim == "all":
        service.ended()
        scenario.serve(workers=workers)


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("claim", "run", "result", "start"))
def test_a_death_during_a_run(scenario: KillScenario, point: str, victim: str) -> None:
    scenario.add("job", SLOW if "output" in point else COMMAND, prints=PRINTED)
    _kill(scenario, point, victim)
    assert scenario.broken_promises() == []
    job = scenario.queue.job("job")
    assert job.label == "completed"
    harmless = victim == "one" and point.startswith(("claim", "result", "start"))
    assert job.attempts == 0 or not harmless, "the death of a dispatcher costs no attempt"
    assert job.attempts == 0 or point not in UNBEGUN, (
        "a death before the run has begun costs no attempt"
    )


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("fire"))
def test_a_death_while_a_schedule_is_fired(scenario: KillScenario, point: str, victim: str) -> None:
    schedule = new_schedule("s", "* * * * *", "UTC", {"command": "true"}, catch_up="all")
    scenario.queue.store.schedules.add(schedule, now_ms=times.now_ms() - 5 * 60_000)
    _kill(scenario, point, victim)
    eventually(lambda: scenario.queue.count("completed") >= 5)
    found = sorted(job.scheduled_ms or 0 for job in scenario.queue.jobs())
    assert found == [found[0] + n * 60_000 for n in range(len(found))]


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("hand"))
def test_a_death_while_a_claim_is_prefetched(
    scenario: KillScenario, point: str, victim: str
) -> None:
    for n in range(12):
        scenario.add(f"quick{n}", "true", max_retries=1)
    scenario.add("long", "sleep 1.2")
    scenario.add("behind", "true", max_retries=1)
    _kill(scenario, point, victim, workers=1)
    assert scenario.broken_promises() == []
    assert scenario.queue.job("long").label == "completed"
    lost = [job.id for job in scenario.queue.jobs() if job.label != "completed"]
    assert len(lost) <= 1, "only the running job loses its attempt"


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("worker"))
def test_a_death_while_a_dead_worker_is_reported(
    scenario: KillScenario, point: str, victim: str
) -> None:
    scenario.add("job", FATAL, prints=PRINTED)
    service = scenario.serve_armed(point, victim, workers=1)
    scenario.wait_until_killed()
    service.ended()
    scenario.serve()
    assert scenario.broken_promises() == []
    assert scenario.queue.job("job").label == "completed"


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("rescue"))
def test_a_death_during_a_rescue(scenario: KillScenario, point: str, victim: str) -> None:
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 60")
    scenario.add("other", "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 60")
    first = scenario.serve()
    eventually(lambda: scenario.started("job") and scenario.started("other"), "both run")
    first.kill_instance()
    _kill(scenario, point, victim)
    assert scenario.broken_promises() == []
    assert [scenario.queue.job(name).attempts for name in ("job", "other")] == [1, 1]
    assert scenario.queue.store.instances() == []


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("end"))
def test_a_death_while_the_service_ends(scenario: KillScenario, point: str, victim: str) -> None:
    scenario.add("job", "true")
    service = scenario.serve_armed(point, victim).ready()
    scenario.queue.wait("job")
    service.process.terminate()
    scenario.wait_until_killed()
    service.ended()
    scenario.serve().ready()
    assert scenario.broken_promises() == []
    eventually(lambda: scenario.queue.store.instances() == [])
    assert not [name for name in os.listdir(scenario.queue.directory) if name.endswith(".lock")]


def test_a_new_dispatcher_that_is_not_told_of_the_workers(scenario: KillScenario) -> None:
    """All processes end with the supervisor, and the next service goes on."""
    scenario.add("job", "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 5")
    service = scenario.serve_armed("again: forked, not told of the workers", "pause", workers=2)
    eventually(lambda: scenario.started("job"))
    service.kill(service.child(0))
    scenario.wait_until_killed()
    eventually(lambda: any(watches(process.pid) for process in service.own()), "it has begun")
    service.kill(service.pid)
    assert service.ended() == -9
    eventually(lambda: not service.own())
    scenario.serve()
    assert scenario.broken_promises() == []
    assert scenario.queue.job("job").label == "completed"


@pytest.mark.parametrize("point", _points("enqueue"))
def test_a_death_during_an_enqueue(scenario: KillScenario, point: str) -> None:
    scenario.asked = {"a", "b"}
    done = scenario.queuectl(point, "enqueue", "--id", "a", "--", "true")
    assert (done.returncode, done.stdout) == (-9, "")
    committed = point.endswith("not acknowledged")
    assert [job.id for job in scenario.queue.jobs()] == (["a"] if committed else [])
    again = scenario.queuectl(point, "enqueue", "--id", "a", "--", "true")
    assert again.returncode == (4 if committed else 0), "the id shows whether the job was stored"


def test_each_point_has_a_test() -> None:
    kinds = {"claim", "run", "result", "start", "hand", "worker", "rescue", "end", "enqueue"}
    kinds |= {"again", "fire", "take"}  # the last one in tests/hosts/test_partitions.py
    assert {name.split(":")[0] for name in POINTS} == kinds
