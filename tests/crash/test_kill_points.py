"""kill -9 before and after each step that matters, of the one who takes it and of all at once."""

import os
import time

import pytest

from tests.crash.kill_points import POINTS
from tests.crash.kill_scenario import Scene
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


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("claim", "run", "result", "start"))
def test_of_a_run(scene: Scene, point: str, victim: str) -> None:
    scene.add("job", SLOW if "output" in point else COMMAND, prints=PRINTED)
    service = scene.armed(point, victim)
    scene.tripped()
    if victim == "all":
        service.ended()
        scene.serve()
    assert scene.broken() == []
    job = scene.queue.job("job")
    assert job.label == "completed"
    harmless = victim == "one" and point.startswith(("claim", "result", "start"))
    assert job.attempts == 0 or not harmless, "no job pays for the death of a dispatcher"
    assert job.attempts == 0 or point not in UNBEGUN, "nor for any death before it was begun"


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("hand"))
def test_of_one_more_in_the_hand(scene: Scene, point: str, victim: str) -> None:
    for n in range(12):
        scene.add(f"quick{n}", "true", max_retries=1)
    scene.add("long", "sleep 1.2")
    scene.add("behind", "true", max_retries=1)
    service = scene.armed(point, victim, workers=1)
    scene.tripped()
    if victim == "all":
        service.ended()
        scene.serve(workers=1)
    assert scene.broken() == []
    assert scene.queue.job("long").label == "completed"
    lost = [job.id for job in scene.queue.jobs() if job.label != "completed"]
    assert len(lost) <= 1, "only the job that was running pays, by the loss of its one attempt"


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("worker"))
def test_of_a_dead_worker(scene: Scene, point: str, victim: str) -> None:
    scene.add("job", FATAL, prints=PRINTED)
    service = scene.armed(point, victim, workers=1)
    scene.tripped()
    service.ended()
    scene.serve()
    assert scene.broken() == []
    assert scene.queue.job("job").label == "completed"


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("rescue"))
def test_of_a_rescue(scene: Scene, point: str, victim: str) -> None:
    scene.add("job", "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 60")
    scene.add("other", "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 60")
    service = scene.serve()
    eventually(lambda: scene.started("job") and scene.started("other"), "both run")
    service.kill_everything()
    service = scene.armed(point, victim)
    scene.tripped()
    if victim == "all":
        service.ended()
        scene.serve()
    assert scene.broken() == []
    assert [scene.queue.job(name).attempts for name in ("job", "other")] == [1, 1]
    assert scene.queue.store.instances() == []


@pytest.mark.parametrize("victim", BOTH)
@pytest.mark.parametrize("point", _points("end"))
def test_of_an_end(scene: Scene, point: str, victim: str) -> None:
    scene.add("job", "true")
    service = scene.armed(point, victim).ready()
    scene.queue.wait("job")
    service.process.terminate()
    scene.tripped()
    service.ended()
    scene.serve().ready()
    assert scene.broken() == []
    eventually(lambda: scene.queue.store.instances() == [])
    assert not [name for name in os.listdir(scene.queue.directory) if name.endswith(".lock")]


def test_of_another_dispatcher_that_is_not_told_who_lives(scene: Scene) -> None:
    """The workers have said hello to it. All of them end, and the next start goes on."""
    scene.add("job", "[ $QUEUED_ATTEMPT -gt 1 ] || sleep 5")
    service = scene.armed("again: forked, not told who lives", "pause", workers=2)
    eventually(lambda: scene.started("job"))
    service.kill(service.child(0))
    scene.tripped()
    eventually(lambda: len(service.logged("settings.applied")) == 2)
    time.sleep(0.3)
    service.kill(service.pid)
    assert service.ended() == -9
    eventually(lambda: not service.own())
    scene.serve()
    assert scene.broken() == []
    assert scene.queue.job("job").label == "completed"


@pytest.mark.parametrize("point", _points("enqueue"))
def test_of_an_enqueue(scene: Scene, point: str) -> None:
    scene.asked = {"a", "b"}
    done = scene.queuectl(point, "enqueue", "--id", "a", "--", "true")
    assert (done.returncode, done.stdout) == (-9, "")
    committed = point.endswith("not acknowledged")
    assert [job.id for job in scene.queue.jobs()] == (["a"] if committed else [])
    again = scene.queuectl(point, "enqueue", "--id", "a", "--", "true")
    assert again.returncode == (4 if committed else 0), "the id tells whether it is there"


def test_each_point_has_a_test() -> None:
    kinds = {"claim", "run", "result", "start", "hand", "worker", "rescue", "end", "enqueue"}
    kinds |= {"again"}
    assert {name.split(":")[0] for name in POINTS} == kinds
