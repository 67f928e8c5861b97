"""What the service finds changed: a claim that was taken away, a clock that was set."""

import signal
import time
from contextlib import closing

import apsw

from tests.process.foreign_sql import sql
from tests.process.marked_sleep import Nap
from tests.service import Queue, eventually


def test_a_worker_ends_a_run_whose_claim_was_taken_away(queue: Queue, nap: Nap) -> None:
    """And takes the next one only then; the result of the lost run changes nothing."""
    service = queue.serve(workers=1)
    command = f"trap '' TERM; sleep {nap}; sleep {nap}"
    name = queue.add(f"[ $QUEUED_ATTEMPT = 2 ] || {{ {command}; }}", kill_grace=0.3)
    eventually(nap.living)
    worker, dispatcher = service.child(1), service.child(0)
    service.kill(dispatcher, signal.SIGSTOP)
    sql(queue, "UPDATE jobs SET state = 'pending', ready = 1, token = NULL WHERE id = ?", name)
    service.kill(dispatcher)
    job = queue.wait(name)
    assert (job.label, job.runs) == ("completed", 2)
    assert nap.living() == []
    assert service.child(1) == worker, "it is the same one"
    assert service.logged("job.claim_lost", attempt=1)


def test_a_retry_moves_along_with_a_clock_that_was_set(queue: Queue) -> None:
    service = queue.serve()
    name = queue.add("exit 1", backoff_base=1000)
    given = queue.add("true", delay=5000)
    before = queue.wait(name, "failed").run_at_ms
    service.stop()
    sql(queue, "UPDATE clock SET offset_ms = offset_ms - 3600000")
    service = queue.serve()
    eventually(lambda: service.logged("clock.shifted"))
    assert abs(queue.job(name).run_at_ms - before - 3_600_000) < 1500
    scheduled = queue.job(given)
    assert scheduled.run_at_ms == scheduled.created_ms + 5_000_000, "that is what the user said"


def test_a_wait_for_the_database_is_no_jump_of_the_clock(queue: Queue) -> None:
    """The turn that waited has an old time in hand; a retry must not come early for that."""
    service = queue.serve()
    failing = queue.add("false", backoff_base=300, backoff_max=300)
    due_ms = queue.wait(failing, "failed").run_at_ms
    trigger = queue.add("true", delay=0.7)
    with closing(apsw.Connection(queue.path)) as other:
        other.set_busy_timeout(5000)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(2.5)  # a turn wants to begin since the trigger is due
        other.execute("ROLLBACK")
    assert queue.wait(trigger).label == "completed"
    assert service.logged("clock.shifted") == []
    assert queue.job(failing).run_at_ms == due_ms
