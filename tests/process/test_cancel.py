"""Cancelling: pending, running, in the moment of its end, and while the service is in trouble."""

import signal
from functools import partial

import pytest

from queued.core.model import State
from tests.process.marked_sleep import MarkedSleep
from tests.service import WATCHED, Queue, eventually

pytestmark = pytest.mark.both_engines


def running(queue: Queue, name: str, sleeper: MarkedSleep) -> None:
    eventually(lambda: queue.job(name).label == "processing" and sleeper.living())


def test_a_pending_job_never_runs(served: Queue) -> None:
    name = served.add(f"touch {served.file('ran')}", delay=0.3)
    assert served.cancel(name) is State.CANCELLED
    after = served.add("true", delay=0.4)
    served.wait(after)
    assert not served.file("ran").exists()
    assert served.job(name).runs == 0


def test_a_running_job_is_ended_by_the_ladder_and_never_retried(
    served: Queue, sleeper: MarkedSleep
) -> None:
    name = served.add(
        f"trap '' TERM; sleep {sleeper}; sleep {sleeper}", max_retries=9, kill_grace=0.3
    )
    running(served, name, sleeper)
    done = served.queuectl("cancel", name)
    assert done.returncode == 0
    assert "cancel requested" in done.stdout
    job = served.wait(name)
    assert (job.label, job.runs, job.cancel_requested_ms) == ("cancelled", 1, None)
    (attempt,) = served.attempts(name)
    assert (attempt.outcome, attempt.signal) == ("cancelled", "SIGKILL")
    assert sleeper.living() == []


def test_a_job_that_ends_well_when_it_is_told_to_is_cancelled_all_the_same(
    served: Queue, sleeper: MarkedSleep
) -> None:
    name = served.add(f"trap 'exit 0' TERM; : {sleeper}; while :; do sleep 0.01; done")
    running(served, name, sleeper)
    served.cancel(name)
    assert served.wait(name).label == "cancelled"
    (attempt,) = served.attempts(name)
    assert (attempt.outcome, attempt.exit_code) == ("cancelled", 0)


def was_claimed(queue: Queue, name: str) -> bool:
    return queue.job(name).runs == 1


@pytest.mark.parametrize("code", [0, 1])
def test_in_the_very_moment_of_its_end_one_of_the_two_wins(served: Queue, code: int) -> None:
    """Forty jobs that are ending while they are cancelled: all end, each in one way only."""
    verdicts = []
    for n in range(40):
        name = served.add(f"sleep 0.0{n % 10}; exit {code}", max_retries=3, backoff_max=100)
        eventually(partial(was_claimed, served, name))
        verdicts.append((name, served.cancel(name)))
    for name, verdict in verdicts:
        job = served.wait(name, "completed", "cancelled", "dead")
        (attempt,) = served.attempts(name)
        if job.label == "completed":
            assert (attempt.outcome, attempt.exit_code, code) == ("exit", 0, 0)
        else:
            assert verdict in (State.PROCESSING, State.CANCELLED)
        assert job.cancel_requested_ms is None
        assert job.runs == 1, "never retried"


@pytest.mark.parametrize("dead", ["dispatcher", "service"])
def test_a_request_outlives_the_process_that_should_obey_it(
    queue: Queue, sleeper: MarkedSleep, dead: str
) -> None:
    service = queue.serve(workers=1, env=WATCHED)
    name = queue.add(f"sleep {sleeper}", max_retries=5)
    running(queue, name, sleeper)
    dispatcher = service.child(0)
    service.kill(dispatcher, signal.SIGSTOP)
    assert queue.cancel(name) is State.PROCESSING
    if dead == "dispatcher":
        service.kill(dispatcher)
    else:
        service.kill_instance()
        queue.serve(workers=1)
    job = queue.wait(name)
    assert (job.label, job.runs) == ("cancelled", 1)
    assert sleeper.living() == []


def test_a_cancelled_job_that_is_interrupted_is_cancelled(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    service = queue.serve(workers=1)
    name = queue.add(f"trap '' TERM; sleep {sleeper}; sleep {sleeper}", kill_grace=1)
    running(queue, name, sleeper)
    queue.cancel(name)
    service.kill(service.pid, signal.SIGTERM)
    eventually(lambda: service.logged("service.draining"))
    assert service.stop() == 0
    assert queue.job(name).label == "cancelled"
