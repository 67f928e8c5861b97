"""Hooks: each way in which a job becomes dead or completed enqueues a job that reports it."""

from collections import Counter

import pytest

from queued.core import times
from tests.service import Queue

REPORT = "echo $QUEUED_PARENT_ID $QUEUED_PARENT_STATE $QUEUED_PARENT_OUTCOME"


@pytest.mark.both_engines
def test_every_end_is_reported_once_and_a_cancel_is_not(queue: Queue) -> None:
    for key in ("on_dead", "on_completed"):
        queue.configure(key, REPORT)
    first = queue.serve(workers=4)
    for name in ("lost", "rescued", "cancelled"):
        queue.add("sleep 60", id=name, max_retries=1)
        queue.wait(name, "processing")
    first.kill(first.worker_of("lost"))
    queue.cancel("cancelled")
    queue.wait(queue.add("true", id="done"))
    queue.wait(queue.add("exit 1", id="quiet", max_retries=1, on_dead=""))
    queue.wait(queue.add("exit 1", id="late", max_retries=2, backoff_max=0))
    queue.wait(queue.add("exit 1", id="again", max_retries=1))
    queue.store.retry([queue.store.find("again")], now_ms=times.now_ms())
    for name in ("again", "lost", "cancelled"):
        queue.wait(name)
    first.kill_instance()
    queue.serve()
    queue.wait("rescued")
    assert _reports(queue) == {
        "lost dead lost\n": 1,
        "rescued dead lost\n": 1,
        "done completed exit\n": 1,
        "late dead exit\n": 1,
        "again dead exit\n": 2,
    }


def test_a_hook_that_fails_is_retried_and_dies_without_a_hook(queue: Queue) -> None:
    command = "echo $QUEUED_PARENT_ID; exit 1"
    for key, value in (("on_dead", command), ("default_max_retries", "2"), ("backoff_max", "0")):
        queue.configure(key, value)
    service = queue.serve()
    queue.wait(queue.add("exit 1", id="parent", max_retries=1))
    hook = next(job.id for job in queue.jobs() if job.id != "parent")
    assert queue.wait(hook).state == "dead"
    assert [run.exit_code for run in queue.attempts(hook)] == [1, 1]
    service.stop()
    assert {job.id for job in queue.jobs()} == {"parent", hook}


def test_a_hook_runs_in_the_queue_of_its_job_without_its_labels(queue: Queue) -> None:
    """No job has made this pair of a queue and no labels before."""
    queue.serve("--labels", "gpu")
    queue.wait(queue.add("true", queue="images", requires=["gpu"], on_completed=REPORT, id="job"))
    assert _reports(queue) == {"job completed exit\n": 1}


def _reports(queue: Queue) -> Counter[str]:
    """Returns the texts that hook jobs have printed, once all of them have completed."""
    ended = [queue.wait(job.id, "completed") for job in queue.jobs() if job.command == REPORT]
    return Counter(queue.output(job.id, attempt=job.runs).decode() for job in ended)
