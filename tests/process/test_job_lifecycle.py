"""The life of a job in the real service."""

import os
import signal
from itertools import pairwise

import pytest

from tests.service import Queue, alive, eventually


@pytest.mark.both_engines
def test_a_job_runs_and_is_recorded(queue: Queue) -> None:
    service = queue.serve()
    name = queue.add("echo hello; echo oops >&2")
    job = queue.wait(name)
    assert (job.label, job.attempts, job.runs, job.last_error) == ("completed", 0, 1, None)
    (attempt,) = queue.attempts(name)
    assert (attempt.outcome, attempt.exit_code, attempt.signal) == ("exit", 0, None)
    assert attempt.instance == service.instance
    assert queue.output(name) == b"hello\noops\n"
    assert service.stop() == 0
    assert not service.logged("job.printed"), "log_output is off by default"
    assert not service.logged("database.watch_missing")


@pytest.mark.both_engines
def test_failures_are_retried_with_growing_delay_and_end_dead(served: Queue) -> None:
    name = served.add("date +%s%N >> times; echo broken; exit 3", max_retries=3, backoff_base=1.2,
                     cwd=str(served.directory))  # fmt: skip
    job = served.wait(name)
    assert (job.label, job.attempts, job.runs) == ("dead", 3, 3)
    assert job.last_error == "exit 3: broken"
    starts = [int(line) / 1e9 for line in served.file("times").read_text().split()]
    assert starts[1] - starts[0] >= 1.2
    assert starts[2] - starts[1] >= 1.2**2


COMMANDS = [
    ("printf '%s' 'a \"b\" $HOME *'", b'a "b" $HOME *'),
    ("X='two  spaces'; printf '%s' \"$X\"", b"two  spaces"),
    ("printf '%s' \"line\nline\"", b"line\nline"),
    ("printf '%s' 'grüße 漢字'", "grüße 漢字".encode()),
    ("printf '\\377\\376\\000\\001'", b"\xff\xfe\x00\x01"),
    ("cat", b""),
    ("readlink /proc/self/fd/0", b"/dev/null\n"),
]


@pytest.mark.parametrize(("command", "printed"), COMMANDS)
def test_the_command_reaches_the_shell_byte_for_byte(
    served: Queue, command: str, printed: bytes
) -> None:
    name = served.add(command)
    assert served.wait(name).label == "completed"
    assert served.output(name) == printed


@pytest.mark.both_engines
def test_a_scheduled_job_waits_for_its_time(served: Queue) -> None:
    name = served.add("true", delay=0.7)
    assert served.job(name).label == "scheduled"
    job = served.wait(name)
    (attempt,) = served.attempts(name)
    assert job.next_run_at_ms <= attempt.started_ms <= job.next_run_at_ms + 500


def test_a_held_job_starts_when_it_is_released(served: Queue) -> None:
    held = served.add("true", hold=True, priority=9)
    served.wait(served.add("true"))
    assert served.job(held).label == "held"
    served.queuectl("release", held)
    assert served.wait(held).label == "completed"


@pytest.mark.both_engines
def test_jobs_wait_for_the_ends_of_others(served: Queue) -> None:
    first = served.add("sleep 0.3; [ $QUEUED_ATTEMPT -gt 1 ]", max_retries=1)
    second = served.add("true", after=[first])
    third = served.add("true", after=[second], id="third")
    helper = served.add("true", after_fail=[first], after_any=[second])
    assert served.job(third).label == "blocked"
    assert served.wait(helper).label == "completed"
    assert served.wait(third).last_error == f"dependency: {second} is cancelled"
    served.queuectl("dlq", "retry", first)
    eventually(lambda: served.job(third).label == "completed")
    ends = [served.attempts(job)[-1] for job in (first, second, third)]
    spans = [(run.started_ms, run.ended_ms or 0) for run in ends]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.both_engines
def test_each_job_of_an_array_knows_its_index(served: Queue) -> None:
    show = "echo $QUEUED_ARRAY_ID $QUEUED_ARRAY_INDEX"
    array = served.queuectl("enqueue", "--array", "1-2,7", "--", show).stdout.strip()
    last = served.queuectl("enqueue", "--after", array, "--", "true").stdout.strip()
    assert served.wait(last).label == "completed"
    waited = served.queuectl("wait", array)
    jobs = [f"{array}_{index}" for index in (1, 2, 7)]
    assert (waited.returncode, waited.stdout.split()[::2]) == (0, jobs)
    assert [served.output(job) for job in jobs] == [
        f"{job}\n".replace("_", " ").encode() for job in jobs
    ]
    ended_ms = max(served.attempts(job)[-1].ended_ms or 0 for job in jobs)
    assert ended_ms <= served.attempts(last)[-1].started_ms


@pytest.mark.both_engines
def test_one_job_of_an_array_runs_at_a_time(served: Queue) -> None:
    array = served.queuectl("enqueue", "--array", "1-5%1", "--", "sleep 0.05").stdout.strip()
    assert served.queuectl("wait", array).returncode == 0
    runs = [served.attempts(f"{array}_{index}")[-1] for index in range(1, 6)]
    spans = [(run.started_ms, run.ended_ms or 0) for run in runs]
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans


def test_a_flag_wins_over_the_stored_number_of_workers(queue: Queue) -> None:
    service = queue.serve(workers=2)
    queue.queuectl("config", "set", "workers", "4")
    queue.queuectl("config", "set", "backoff_max", "5")
    eventually(lambda: service.logged("settings.applied", backoff_max=5))
    assert len(queue.store.workers()) == 2


@pytest.mark.both_engines
def test_worker_stop_drains(queue: Queue) -> None:
    service = queue.serve()
    go = queue.file("go")
    name = queue.add(f"until [ -e {go} ]; do sleep 0.02; done; echo done")
    eventually(lambda: service.logged("job.started", job=name))
    done = queue.queuectl("worker", "stop", "--no-wait")
    assert done.returncode == 0, done.stderr
    eventually(lambda: service.logged("service.draining"))
    later = queue.add("true")
    go.touch()
    assert service.ended() == 0
    assert queue.job(name).label == "completed"
    assert queue.job(later).label in ("scheduled", "pending")
    assert queue.store.instances() == []
    assert not list(queue.directory.glob("*.lock"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_lets_running_jobs_finish(queue: Queue, number: int) -> None:
    service = queue.serve()
    name = queue.add("sleep 0.5; echo done")
    eventually(lambda: service.logged("job.started", job=name))
    os.killpg(service.pid, number)
    assert service.ended() == 0
    assert queue.job(name).label == "completed"


def test_the_end_of_the_grace_ends_running_jobs(queue: Queue) -> None:
    queue.queuectl("config", "set", "shutdown_grace", "0.3")
    service = queue.serve()
    name = queue.add("trap '' TERM; while :; do sleep 1; done", kill_grace=0.3)
    eventually(lambda: service.logged("job.started", job=name))
    assert service.stop() == 0
    assert (queue.job(name).label, queue.job(name).attempts) == ("pending", 0)
    assert queue.attempts(name)[0].outcome == "interrupted"


def test_term_to_a_worker_lets_it_finish_and_replaces_it(queue: Queue) -> None:
    service = queue.serve(workers=1)
    name = queue.add("sleep 0.5")
    eventually(lambda: service.logged("job.started", job=name))
    pid = service.child(1)
    service.kill(pid, signal.SIGTERM)
    assert queue.wait(name).label == "completed"
    assert queue.job(name).runs == 1
    assert service.replaced(1, pid) != pid
    assert queue.wait(queue.add("true")).label == "completed"


@pytest.mark.both_engines
def test_nothing_is_left_when_the_service_has_stopped(queue: Queue) -> None:
    service = queue.serve(workers=4)
    queue.add_all(["sleep 0.1"] * 10)
    queue.wait_all(10)
    pids = service.descendants()
    assert service.stop() == 0
    assert not [pid for pid in pids if alive(pid)]
