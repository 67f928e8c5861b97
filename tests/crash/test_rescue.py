"""A rescue kills all processes of a dead instance before the jobs of that run again."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import MagicMock, Mock

import pytest

from queued.core import times
from queued.core.model import Instance
from queued.service.dispatcher import leftovers
from queued.service.dispatcher.rescuer import OtherInstances, Rescuer
from queued.service.linux import procfs
from queued.service.linux.killing import Found, Killed, kill_until_gone
from queued.service.linux.procfs import Process
from queued.store import instance_lock
from tests.default_settings import DEFAULTS
from tests.service import Queue, alive, eventually

NO_PID = 1 << 23  # larger than the largest pid
OWN = Instance("own", "host", 1, "1", 0, None)


@contextmanager
def immortal(instance: str) -> Iterator[int]:
    """A process with the mark of an instance's commands, which the rescue cannot kill."""
    env = {**os.environ, "QUEUED_INSTANCE": instance, "QUEUED_JOB_ID": "x", "QUEUED_ATTEMPT": "1"}
    with subprocess.Popen(["sleep", "1000"], env=env) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_processes_that_cannot_be_killed_are_logged_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(procfs, "send_signal", lambda *_: False)
    with immortal("dead-instance-of-this-test") as pid:
        killed = leftovers.kill_leftovers("dead-instance-of-this-test", [], {})
    assert killed.signalled == 0
    assert [process.pid for process in killed.left] == [pid]


def test_a_kill_is_seen_to_be_complete_though_each_search_takes_longer_than_it_may() -> None:
    """On a busy machine a process that had just been killed was reported as one that cannot be."""
    name = "slow-instance-of-this-test"

    def find() -> Found:
        subprocess.run(["sleep", "0.2"], check=True)
        return Found(leftovers.run_processes(name, set()))

    with immortal(name):
        assert kill_until_gone(find, 0.1) == Killed(1, [], unseen=False)


def test_a_lock_that_was_held_before_the_kill_says_nothing_about_the_time_after_it() -> None:
    """The log asked to end processes that had ended, and the rescue began again 5 s later."""
    gone = Process(NO_PID, 1, NO_PID, NO_PID, 1, dead=False)
    held = Found([gone], unseen=True)
    searches = iter([held, held, Found([])])
    assert kill_until_gone(lambda: next(searches), 0) == Killed(0, [], unseen=False)


def test_claims_that_another_service_has_rescued_are_not_rescued_again() -> None:
    """Its time of the next try is forgotten, because it would stay in the past."""
    rescuer = Rescuer(Mock(), Mock(), None, OtherInstances("/queue.db", OWN), Mock())
    rescuer._retry_at_s = {"dead": 0.0}
    assert not rescuer.rescue(DEFAULTS)
    assert rescuer.next_s == float("inf")


def test_a_lock_file_that_cannot_be_opened_stops_no_rescue_of_others(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, log = instance_lock.path_of(queue.path, "closed"), Mock()
    for name in ("closed", "dead"):
        os.close(instance_lock.create_locked(instance_lock.path_of(queue.path, name)))
    plain, now_s = os.open, times.monotonic_s()

    def refusing(path: str, *arguments: int) -> int:
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return plain(path, *arguments)

    monkeypatch.setattr(os, "open", refusing)
    others = OtherInstances(queue.path, OWN)
    rescuer = Rescuer(Mock(), Mock(), None, others, log)
    instances = [Instance(name, "host", 1, "1", 0, None) for name in ("closed", "dead")]
    rescuer.registered = instances[:1]
    for after_s in (0, 4, 6, 12):
        monkeypatch.setattr(times, "monotonic_s", lambda after_s=after_s: now_s + after_s)
        assert not rescuer.rescue(DEFAULTS)
        assert len(log.error.mock_calls) == (after_s > 5)
        assert now_s + after_s < rescuer.next_s <= now_s + after_s + 5
    assert log.error.mock_calls[0].kwargs["lock"] == closed
    assert "Permission denied" in log.error.mock_calls[0].kwargs["error"]
    assert others.lock_dead(instances) == instances[1:]


def test_jobs_wait_for_a_living_instance_that_has_no_row(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instance serves an earlier database, which this one has replaced."""
    now_s, log = times.monotonic_s(), Mock()
    lock = instance_lock.create_locked(instance_lock.path_of(queue.path, "old"))
    others = OtherInstances(queue.path, OWN)
    rescuer = Rescuer(MagicMock(), Mock(), None, others, log)
    rescuer.unregistered = others.unregistered([])
    for after_s in (0, 6):
        monkeypatch.setattr(times, "monotonic_s", lambda after_s=after_s: now_s + after_s)
        assert not rescuer.rescue(DEFAULTS)
        assert [instance.id for instance in rescuer.unregistered] == ["old"]
    assert "has no row" in log.error.mock_calls[0].kwargs["error"]
    os.close(lock)
    assert rescuer.rescue(DEFAULTS)
    assert not rescuer.unregistered


def test_a_living_instance_rescues_a_dead_one_at_once(queue: Queue) -> None:
    first = queue.serve(workers=1)
    name = queue.add("sleep 100", backoff_max=0)
    queue.wait(name, "processing")
    second = queue.serve(workers=1)
    first.kill_instance()
    eventually(lambda: len(queue.attempts(name)) == 2)
    assert queue.attempts(name)[1].instance == second.instance
    assert second.logged("instance.rescued", dead=first.instance)


def test_a_process_that_hides_its_files_may_be_of_a_living_instance(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock file is gone, and the process has its mark."""
    ledger, log = MagicMock(), Mock()
    rescuer = Rescuer(ledger, Mock(), None, OtherInstances(queue.path, OWN), log)
    rescuer.registered = [OWN._replace(id="hidden")]
    monkeypatch.setattr(procfs, "shows_files", lambda _pid: False)
    with immortal("hidden") as pid:
        assert not rescuer.rescue(DEFAULTS)
        assert alive(pid)
    assert log.error.mock_calls[0].kwargs["pids"] == [pid]
    assert not ledger.mock_calls
