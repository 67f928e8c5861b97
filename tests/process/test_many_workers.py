"""Two hundred workers with two hundred running jobs."""

import os

from tests.process.marked_sleep import MarkedSleep
from tests.process_figures import cpu_s
from tests.service import Queue, eventually, let_pass

MANY = 200


def test_two_hundred_jobs_run_at_once_and_cost_nothing(queue: Queue, sleeper: MarkedSleep) -> None:
    service = queue.serve(workers=MANY)
    eventually(lambda: len(queue.store.workers()) == MANY, "all workers")
    names = queue.add_all([f"exec sleep {sleeper}"] * MANY)
    eventually(lambda: len(sleeper.living()) == MANY, "all jobs run")
    assert queue.count("processing") == MANY
    own = [service.pid, *(service.child(slot) for slot in range(MANY + 1))]
    before = sum(map(cpu_s, own))
    let_pass(1)
    assert sum(map(cpu_s, own)) - before <= 0.1
    for name in names:
        queue.cancel(name)
    queue.wait_all(MANY, "cancelled")
    assert sleeper.living() == []
    assert service.stop() == 0


def test_slow_jobs_that_follow_quick_ones_have_a_worker_each(queue: Queue) -> None:
    """No slow job waits behind another in the prefetch queue of a worker whose jobs were quick."""
    workers = 4 * len(os.sched_getaffinity(0)) + 8
    queue.serve(workers=workers)
    quick = queue.add_all(["true"] * 2000)
    queue.wait_all(1000)
    begun, go = queue.file("begun"), queue.file("go")
    slow = queue.add_all([f"echo >> {begun}; until [ -e {go} ]; do sleep 0.1; done"] * workers)
    eventually(lambda: begun.exists() and begun.read_text().count("\n") == workers, "all run")
    go.touch()
    queue.wait_all(len(quick) + len(slow))
    assert {queue.job(name).runs for name in (*quick, *slow)} == {1}
