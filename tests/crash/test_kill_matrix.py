"""The death of a whole instance beside a living one, and deaths of one child in a row."""

from datetime import datetime
from itertools import pairwise

from tests.service import Queue, eventually


def test_a_living_instance_rescues_a_dead_one_at_once(queue: Queue) -> None:
    first = queue.serve(workers=1)
    name = queue.add("sleep 100", backoff_max=0)
    queue.wait(name, "processing")
    second = queue.serve(workers=1)
    first.kill_instance()
    eventually(lambda: len(queue.attempts(name)) == 2)
    assert queue.attempts(name)[1].instance == second.instance
    assert second.logged("instance.rescued", dead=first.instance)


def test_a_child_that_dies_again_and_again_is_restarted_with_growing_delay(queue: Queue) -> None:
    service = queue.serve(workers=1)
    for _ in range(4):
        pid = service.child(1)
        service.kill(pid)
        service.replaced(1, pid)
    starts, deaths = (
        [datetime.fromisoformat(line["ts"]).timestamp() for line in service.logged(event, slot=1)]
        for event in ("child.started", "child.died")
    )
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps[3] >= 0.4 > starts[1] - deaths[0]
