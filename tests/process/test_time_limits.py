"""Limits in time of a real service: an expiry, a deadline, a signal before a limit; signals."""

import os
import signal

import pytest

from queued.core import times
from tests.service import WATCHED, Queue, eventually

pytestmark = pytest.mark.both_engines


def test_a_job_that_is_not_started_in_time_is_dead_and_reported(served: Queue) -> None:
    """No other event wakes the dispatcher at the time of the expiry."""
    name = served.add(
        "true", hold=True, expires_in=0.3, on_dead='echo "$QUEUED_PARENT_OUTCOME"', id="late"
    )
    job = served.wait(name)
    assert (job.label, job.last_error) == ("dead", "expired: not started in time")
    (attempt,) = served.attempts(name)
    assert attempt.outcome == "expired"
    (hook,) = (one for one in served.jobs() if one.id != name)
    assert served.output(served.wait(hook.id).id) == b"expired\n"


def test_a_run_that_its_worker_gets_too_late_is_not_begun(queue: Queue) -> None:
    service = queue.serve(workers=1, env=WATCHED)
    service.kill(service.child(1), signal.SIGSTOP)
    name = queue.add(f"touch {queue.file('ran')}", expires_in=0.5)
    other = queue.add("true")
    queue.wait(name, "processing")
    expires_ms = queue.job(name).expires_ms
    eventually(lambda: expires_ms is not None and times.now_ms() > expires_ms)
    service.kill(service.child(1), signal.SIGCONT)
    job = queue.wait(name)
    assert (job.label, job.last_error) == ("dead", "expired: not started in time")
    assert not queue.file("ran").exists()
    assert queue.wait(other).label == "completed"


def test_a_deadline_ends_a_run_for_good(served: Queue) -> None:
    deadline = times.iso(times.now_ms() + 1500)
    name = served.add("sleep 60", deadline=deadline, timeout=50, max_retries=5, kill_grace=1)
    job = served.wait(name)
    told = f"timeout: the deadline {deadline} has passed"
    assert (job.label, job.attempts, job.last_error) == ("dead", 1, told)
    (attempt,) = served.attempts(name)
    assert attempt.outcome == "timeout"


def test_a_signal_comes_before_a_time_limit(served: Queue) -> None:
    script = "trap 'echo warned; exit 0' USR1; while :; do sleep 0.05; done"
    name = served.add(script, timeout=30, warn_signal="USR1@29.5")
    assert served.wait(name).label == "completed"
    assert served.output(name).endswith(b"warned\n")  # `sleep` has got the signal, too
    (attempt,) = served.attempts(name)
    assert attempt.ran_ms is not None
    assert 500 <= attempt.ran_ms < 20_000


def test_a_requested_signal_reaches_the_run_once(served: Queue) -> None:
    ready = served.file("ready")
    script = f"trap 'echo got' USR1; trap 'exit 0' HUP; touch {ready}; while :; do sleep 0.05; done"
    name = served.add(script)
    eventually(ready.exists)
    row = served.store.find(name)
    assert served.store.edits.signal([row], "USR1")
    eventually(lambda: served.output(name).endswith(b"got\n"))
    assert served.store.edits.signal([row], "HUP")
    assert served.wait(name).label == "completed"
    assert served.output(name).count(b"got\n") == 1


def test_a_signal_that_is_requested_without_a_dispatcher_reaches_the_run(queue: Queue) -> None:
    service = queue.serve(workers=1)
    ready = queue.file("ready")
    name = queue.add(f"trap 'exit 0' HUP; touch {ready}; while :; do sleep 0.05; done")
    eventually(ready.exists)
    service.process.send_signal(signal.SIGSTOP)  # it would start another dispatcher
    try:
        os.kill(service.child(0), signal.SIGKILL)
        assert queue.store.edits.signal([queue.store.find(name)], "HUP")
    finally:
        service.process.send_signal(signal.SIGCONT)
    assert queue.wait(name).label == "completed"
