"""kill -9 of the whole service while jobs end: each end enqueues exactly one hook job."""

import random

from tests.crash.kill_scenario import KillScenario
from tests.service import eventually
from tests.torture.history import traced

KILLS = 6
JOBS = 20  # enqueued before each kill


def test_each_end_has_one_hook_job_though_the_service_is_killed_often(
    scenario: KillScenario,
) -> None:
    dice = random.Random(1)
    hook = traced(scenario.traces, "true")
    for n in range(KILLS):
        service = scenario.serve(workers=4).ready()
        wanted = scenario.ended() + dice.randint(1, JOBS)
        for k in range(JOBS):
            command, most = dice.choice(["true", "exit 1", "kill -9 $$"]), dice.randint(1, 2)
            scenario.add(f"j{n}-{k}", command, max_retries=most, on_dead=hook)
        _wait_for_ends(scenario, wanted)
        service.kill_instance()
    scenario.serve(workers=4)
    assert scenario.broken_promises(within_s=60) == []
    assert len(scenario.queue.jobs()) > KILLS * JOBS * 5 / 4, "many jobs have a hook job"


def _wait_for_ends(scenario: KillScenario, count: int) -> None:
    eventually(lambda: scenario.ended() >= count, f"{count} jobs end")
