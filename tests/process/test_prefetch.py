"""A worker with quick jobs gets its next claim early, and no other job waits for that."""

import pytest

from tests.service import Queue, Service, alive, altered, eventually, locked

QUICK = 30
# On a busy machine, too, a quick job is one.
PATIENT = "constant=queued.service.worker.prefetch.QUICK_S=0.5"


def _serve(queue: Queue, workers: int = 1) -> Service:
    return queue.spawn(workers=workers, program=altered(PATIENT)).ready()


def _quick_then(queue: Queue, *commands: str) -> list[str]:
    """Enqueues jobs that make a worker quick, then these, all before a service starts."""
    queue.add_all(["true"] * QUICK)
    return [queue.add(command) for command in commands]


def test_quick_jobs_run_once_each_in_their_order(queue: Queue) -> None:
    out = queue.file("out")
    queue.add_all([f"echo {n} >> {out}" for n in range(300)])
    service = _serve(queue)
    queue.wait_all(300)
    assert [int(line) for line in out.read_text().split()] == list(range(300))
    assert {job.runs for job in queue.jobs()} == {1}
    assert service.stop() == 0


def test_a_worker_with_a_long_job_gives_its_prefetched_claims_back(queue: Queue) -> None:
    long, behind = _quick_then(queue, "sleep 30", "true")
    service = _serve(queue)
    queue.wait(long, "processing")
    eventually(lambda: service.logged("job.returned", job=behind), "given back")
    assert queue.wait(behind, "pending").runs == 0
    assert queue.attempts(behind) == [], "as if it had never been claimed"
    assert queue.queuectl("worker", "list").stdout.count("sleep 30") == 1
    other = _serve(queue)
    assert queue.wait(behind).runs == 1
    eventually(lambda: other.logged("job.completed", job=behind))
    assert queue.count("processing") == 1


def test_a_stop_gives_back_prefetched_claims(queue: Queue) -> None:
    queue.add_all(["sleep 0.01"] * 200)
    service = _serve(queue, 2)
    queue.wait_all(20)
    assert service.stop() == 0
    jobs = queue.jobs()
    assert {job.label for job in jobs} == {"completed", "pending"}
    assert {job.runs for job in jobs if job.label == "pending"} == {0}
    _serve(queue, 2)
    queue.wait_all(200)
    assert {job.runs for job in queue.jobs()} == {1}


def test_only_the_running_job_pays_for_the_death_of_its_worker(queue: Queue) -> None:
    _quick_then(queue)
    fatal = queue.add("kill -9 $PPID", max_retries=1)
    behind = [queue.add("true", max_retries=1) for _ in range(5)]
    _serve(queue)
    assert queue.wait(fatal).label == "dead"
    for name in behind:
        assert queue.wait(name).label == "completed"
        assert queue.job(name).attempts == 0


def test_a_cancelled_job_in_the_hand_never_starts(queue: Queue) -> None:
    out = queue.file("out")
    _quick_then(queue)
    names = [queue.add(f"sleep 0.015; echo {n} >> {out}") for n in range(60)]
    _serve(queue)
    queue.wait_all(QUICK + 3)
    for name in names:
        queue.cancel(name)
    ended = [queue.wait(name) for name in names]
    done = out.read_text().split()
    completed = [str(n) for n, job in enumerate(ended) if job.label == "completed"]
    assert set(completed) <= set(done)
    began = [
        str(n)
        for n, name in enumerate(names)
        if any(run.ran_ms is not None for run in queue.attempts(name))
    ]
    assert set(done) <= set(began), "a job that was cancelled before its start has not run"
    assert {job.label for job in ended} == {"completed", "cancelled"}


CHILDREN = "S=$(awk '/^PPid/ { print $2 }' /proc/$PPID/status); C=$(cat /proc/$S/task/$S/children)"


@pytest.mark.parametrize("victims", ["$C", "$C $S"])
def test_a_job_that_kills_more_than_its_worker_is_the_only_one_to_lose_an_attempt(
    queue: Queue, victims: str
) -> None:
    """The results of those before it are not recorded, and die with the dispatcher."""
    begun = queue.file("begun")
    _quick_then(queue)
    before = queue.add(f"touch {begun}; sleep 0.2", max_retries=1)
    between = queue.add("true", max_retries=1)
    fatal = queue.add(f"{CHILDREN}; kill -9 {victims}; sleep 30", max_retries=1)
    behind = queue.add("true", max_retries=1)
    service = _serve(queue)
    eventually(begun.exists)
    with locked(queue.path):
        worker, dispatcher = service.child(1), service.child(0)
        eventually(lambda: not alive(worker) and not alive(dispatcher))
    if "$S" in victims:
        service.ended()
        _serve(queue)
    assert queue.wait(fatal).label == "dead"
    for name in (before, between, behind):
        assert queue.wait(name).label == "completed"
        assert queue.job(name).attempts == 0
    assert [run.outcome for run in queue.attempts(before)] == ["interrupted", "exit"]
    assert [run.outcome for run in queue.attempts(fatal)] == ["lost"]
