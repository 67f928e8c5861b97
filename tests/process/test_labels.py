"""Services with different labels on one machine: where jobs run, and a drained host."""

import signal
import socket

import pytest

from tests.service import Queue, altered, eventually, let_pass, run_python

CHECKS_OFTEN = "constant=queued.service.dispatcher.placement._CHECK_INTERVAL_S=0.1"


def _instance(queue: Queue, name: str) -> str:
    queue.wait(name, "completed")
    return queue.attempts(name)[-1].instance


@pytest.mark.both_engines
def test_a_job_runs_where_its_labels_are(queue: Queue) -> None:
    plain = queue.serve(workers=1)
    gpu = queue.serve("--labels", "gpu, zone=a", workers=1)
    for place in range(9):
        queue.add("true", id=f"gpu{place}", requires=["gpu", "zone=a"], priority=place % 3)
    queue.add("true", id="host", requires=[f"host:{socket.gethostname()}"])
    assert {_instance(queue, f"gpu{place}") for place in range(9)} == {gpu.instance}
    assert _instance(queue, "host") in {plain.instance, gpu.instance}


def test_labels_of_the_conf_file_follow_a_reload(queue: Queue) -> None:
    conf = queue.file("queuectl.conf")
    conf.write_text("")
    service = queue.serve("--config", str(conf), workers=1)
    queue.add("true", id="a", requires=["gpu"])
    queue.add("true", id="b")
    queue.wait("b")
    assert queue.job("a").label == "pending"
    conf.write_text('labels = "gpu"\n')
    service.process.send_signal(signal.SIGHUP)
    queue.wait("a", "completed")


def test_jobs_that_no_service_can_run_are_logged(queue: Queue) -> None:
    service = queue.spawn(program=altered(CHECKS_OFTEN)).ready()
    for requires in (["gpu"], ["gpu", "zone=a"]):
        queue.add("true", requires=requires)
    eventually(lambda: len(service.logged("queue.unserved")) == 2)
    lacks = [line["labels"] for line in service.logged("queue.unserved")]
    assert sorted(lacks) == [["gpu"], ["gpu", "zone=a"]]


@pytest.mark.both_engines
def test_a_drained_host_starts_no_job_also_after_a_restart(queue: Queue) -> None:
    service, host = queue.serve(workers=1), socket.gethostname()
    queue.add(f"until [ -e {queue.file('go')} ]; do sleep 0.05; done", id="runs")
    queue.wait("runs", "processing")
    queue.add("true", id="waits")
    queue.store.drain(host, now_ms=0)
    eventually(lambda: service.logged("host.drained", host=host))
    queue.file("go").touch()
    queue.wait("runs", "completed")
    let_pass(0.3)
    assert queue.job("waits").label == "pending"
    service.stop()
    queue.serve(workers=1)
    let_pass(0.3)
    assert queue.job("waits").label == "pending"
    assert queue.store.resume(host)
    queue.wait("waits", "completed")


@pytest.mark.parametrize(
    ("given", "told"), [("a b", "a label has 1 to 128 "), ("host:x", "'host:x' cannot be given: ")]
)
def test_labels_that_a_service_cannot_have_are_refused(queue: Queue, given: str, told: str) -> None:
    done = run_python("-m", "queued", "--db", queue.path, "--labels", given)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"queued: --labels: {told}")
