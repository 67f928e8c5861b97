"""Services that end by themselves: --drain, --max-jobs and --for."""

import shlex
import sys

import pytest

from queued.core.errors import Exit
from tests.service import Queue, Service, eventually, python_env, run_python

pytestmark = pytest.mark.both_engines


def _cause(service: Service) -> str:
    return str(service.logged("service.draining")[0]["cause"])


def _until_released(queue: Queue) -> str:
    return f"until [ -e {queue.file('go')} ]; do sleep 0.05; done"


def test_a_drain_runs_all_that_is_due_and_waits_for_nothing_later(queue: Queue) -> None:
    queue.add("true", id="hooked", on_completed="true")
    queue.add_once("exit 1", id="retried")
    queue.add("exit 1", id="dead", max_retries=1)
    queue.add("exit 1", id="backs-off", backoff_base=1000)
    queue.add("true", id="later", delay=1000)
    queue.add("true", id="elsewhere", requires=["gpu"])
    enqueue = (sys.executable, "-m", "queued.ctl", "--db", queue.path, "enqueue", "--id", "added")
    env = {"PYTHONPATH": python_env()["PYTHONPATH"], **queue.env}
    queue.add(shlex.join([*enqueue, "true"]), id="adds", env=env)
    service = queue.spawn("--drain")
    assert service.ended() == Exit.DONE
    assert _cause(service) == "nothing is due"
    labels = {job.id: str(job.label) for job in queue.jobs()}
    left = [labels.pop(name) for name in ("dead", "backs-off", "later", "elsewhere")]
    assert left == ["dead", "failed", "scheduled", "pending"]
    assert labels.keys() > {"hooked", "retried", "adds", "added"}
    assert list(labels.values()) == ["completed"] * 5
    assert queue.store.instances() == []


def test_a_drain_can_include_what_becomes_due_later(queue: Queue) -> None:
    queue.add_once("exit 1", id="retried", backoff_base=1)
    queue.add("exit 1", id="backs-off", backoff_base=1000)
    queue.add("true", id="soon", delay=2)
    queue.add("true", id="later", delay=1000)
    queue.add("true", id="elsewhere", delay=500, requires=["gpu"])
    service = queue.spawn("--drain", "--due-within", "10m")
    assert service.ended() == Exit.DONE
    assert _cause(service) == "nothing is due"
    labels = {job.id: str(job.label) for job in queue.jobs()}
    assert labels == {
        "retried": "completed",
        "backs-off": "failed",
        "soon": "completed",
        "later": "scheduled",
        "elsewhere": "scheduled",
    }


def test_a_drain_up_to_a_time_ends_when_nothing_else_is_due_by_then(queue: Queue) -> None:
    queue.add("true", id="soon", delay=1)
    queue.add("true", id="held", hold=True)
    assert queue.spawn("--drain", "--due-within", "9999-01-01T00:00Z").ended() == Exit.DONE
    assert [str(job.label) for job in queue.jobs()] == ["completed", "held"]


def test_a_drain_waits_for_the_rate_of_a_queue(queue: Queue) -> None:
    queue.store.queues.change("mail", rate_starts=1, rate_ms=1000)
    for name in "abc":
        queue.add("true", id=name, queue="mail")
    assert queue.spawn("--drain").ended() == Exit.DONE
    assert queue.count("completed") == 3


def test_a_drain_waits_for_no_rate_on_behalf_of_other_services(queue: Queue) -> None:
    queue.store.queues.change("mail", rate_starts=1, rate_ms=3_600_000)
    queue.add("true", id="a", queue="mail")
    queue.add("true", id="b", queue="mail", requires=["gpu"])
    assert queue.spawn("--drain").ended() == Exit.DONE
    assert queue.count("completed") == 1


def test_a_drain_waits_for_the_rate_of_a_key(queue: Queue) -> None:
    for name in "abc":
        queue.add("true", id=name, key="k", key_rate="1/s")
    assert queue.spawn("--drain").ended() == Exit.DONE
    assert queue.count("completed") == 3


def test_a_drain_waits_for_no_rate_of_a_key_on_behalf_of_other_services(queue: Queue) -> None:
    queue.add("true", id="a", key="k", key_rate="1/hour")
    queue.add("true", id="b", key="k", key_rate="1/hour", requires=["gpu"])
    assert queue.spawn("--drain").ended() == Exit.DONE
    assert queue.count("completed") == 1


def test_a_strict_drain_tells_of_a_dead_job(queue: Queue) -> None:
    queue.add_once("exit 1")
    assert queue.spawn("--drain", "--strict").ended() == Exit.DONE
    queue.add("exit 1", max_retries=1)
    queue.add("true")
    assert queue.spawn("--drain", "--strict").ended() == Exit.NO
    assert queue.spawn("--drain", "--strict").ended() == Exit.DONE


def test_a_strict_drain_tells_of_a_job_that_a_killed_one_has_left_dead(queue: Queue) -> None:
    begun = queue.file("begun")
    queue.add(f"touch {begun}; sleep 60", max_retries=1)
    first = queue.spawn("--drain")
    eventually(begun.exists)
    first.kill_instance()
    assert queue.spawn("--drain", "--strict").ended() == Exit.NO


def test_a_drain_does_not_wait_for_a_job_of_another_service(queue: Queue) -> None:
    queue.serve("--labels", "gpu", workers=1)
    other = queue.add(_until_released(queue), requires=["gpu"])
    queue.wait(other, "processing")
    queue.add("true")
    assert queue.spawn("--drain").ended() == Exit.DONE
    assert (queue.count("completed"), queue.count("processing")) == (1, 1)


def test_exactly_so_many_runs_also_after_the_death_of_the_dispatcher(queue: Queue) -> None:
    queue.add_all(["true", *[_until_released(queue)] * 5])
    queue.add("true", expires_in=0.05)  # expires before the start, and is no run
    service = queue.spawn("--max-jobs", "3", workers=4)
    eventually(lambda: service.logged("job.completed"))  # the dispatcher has counted it
    queue.wait_all(2, "processing")
    dispatcher = service.child(0)
    service.kill(dispatcher)
    service.replaced(0, dispatcher)
    queue.file("go").touch()
    assert service.ended() == Exit.DONE
    assert _cause(service) == "3 runs have ended"
    assert (queue.count("completed"), queue.count("pending")) == (3, 3)


def test_a_service_ends_after_its_time_and_lets_its_job_finish(queue: Queue) -> None:
    job = queue.add(_until_released(queue))
    service = queue.spawn("--for", "3s", "--drain")
    eventually(lambda: service.logged("service.draining"))
    assert _cause(service) == "the time of --for is over"
    queue.file("go").touch()
    assert service.ended() == Exit.DONE
    assert queue.job(job).label == "completed"


def test_a_drain_that_a_signal_has_ended_is_not_done(queue: Queue) -> None:
    begun = queue.file("begun")
    queue.add_all([f"touch {begun}; {_until_released(queue)}", "true"])
    service = queue.spawn("--drain", workers=1)
    eventually(begun.exists)  # a claim that has not begun would be given back
    service.process.terminate()
    eventually(lambda: service.logged("service.draining", cause="SIGTERM"))
    queue.file("go").touch()
    assert service.ended() == Exit.NO
    assert queue.count("pending") == 1


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "words",
    [
        *("--max-jobs 0", "--max-jobs x", "--for soon", "--for -1"),
        *("--due-within 1h", "--due-within soonish --drain"),
    ],
)
def test_bad_values_are_refused(queue: Queue, words: str) -> None:
    done = run_python("-m", "queued", "--db", queue.path, *words.split())
    assert done.returncode == Exit.USAGE
    assert done.stderr.count("\n") <= 2
    assert words.split(maxsplit=1)[0] in done.stderr
