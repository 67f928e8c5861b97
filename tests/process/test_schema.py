"""A running service notices that its database was upgraded under it, and stops in time."""

import os
import signal

import pytest

from queued.store.sqlite import schema
from tests.service import Queue, eventually, run_python

pytestmark = pytest.mark.sqlite_only


def _upgrade(queue: Queue, version: int = 99) -> None:
    """In a process of its own: to close the file in this one would drop the locks of our store."""
    change = f"connect('{queue.path}').execute('PRAGMA user_version = {version}')"
    code = f"from sqlite3 import connect; {change}"
    run_python("-c", code, check=True)


def test_a_service_of_an_older_version_stops(queue: Queue) -> None:
    service = queue.serve()
    _upgrade(queue)
    assert service.ended() == 78
    (line,) = service.logged("service.failed")
    assert "newer than the" in line["error"]
    assert "upgrade queued on this machine" in line["error"]
    assert not service.descendants()
    done = queue.queuectl("list")
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert "has schema 99, newer than the" in done.stderr


def test_a_service_stops_though_a_result_can_never_be_recorded(queue: Queue) -> None:
    service = queue.serve()
    name = queue.add("trap '' TERM; sleep 0.5")
    eventually(lambda: service.logged("job.started", job=name))
    _upgrade(queue)
    assert service.ended() == 78
    assert service.logged("service.failed")
    _upgrade(queue, schema.latest())
    assert queue.job(name).label == "processing"
    queue.serve()
    assert queue.wait(name).label == "completed"


def test_a_service_of_an_older_version_stops_while_it_drains(queue: Queue) -> None:
    service = queue.serve()
    name = queue.add("trap '' TERM; sleep 1")
    eventually(lambda: service.logged("job.started", job=name))
    service.process.send_signal(signal.SIGTERM)
    service.process.send_signal(signal.SIGINT)
    eventually(lambda: service.logged("service.stopping"))
    _upgrade(queue)
    assert service.ended() == 78
    assert len(service.logged("child.started", slot=0)) == 1


def test_an_outdated_service_uses_no_cpu_time_until_its_jobs_have_ended(queue: Queue) -> None:
    """The end of the grace of the stop does not matter any more."""
    queue.queuectl("config", "set", "shutdown_grace", "0.3")
    service = queue.serve()
    name = queue.add("trap '' TERM; while :; do sleep 1; done", kill_grace=2)
    eventually(lambda: service.logged("job.started", job=name))
    service.process.send_signal(signal.SIGTERM)
    eventually(lambda: service.logged("service.draining"))
    _upgrade(queue)
    eventually(lambda: service.logged("worker.orphaned"))
    before = os.times().children_user
    assert service.ended() == 78
    assert os.times().children_user - before < 0.8, "in about 2 s"
