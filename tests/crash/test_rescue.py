"""What a rescue waits for: nothing of a dead instance may be alive when its jobs run again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import pytest

from queued.core.settings import Settings
from queued.service.dispatcher import leftovers
from queued.service.dispatcher.rescuer import OtherInstances, Rescuer
from queued.service.linux import procfs
from tests.service import Queue, eventually


@contextmanager
def immortal(instance: str) -> Iterator[int]:
    """A process with the mark of an instance's commands, which the rescue cannot kill."""
    env = {**os.environ, "QUEUED_INSTANCE": instance, "QUEUED_JOB_ID": "x", "QUEUED_ATTEMPT": "1"}
    with subprocess.Popen(["sleep", "1000"], env=env) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_what_cannot_be_killed_is_named_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "send", lambda *_: False)
    monkeypatch.setattr(leftovers, "_KILLING_S", 0.02)
    with immortal("dead-instance-of-this-test") as pid:
        killed = leftovers.kill_leftovers("dead-instance-of-this-test", [], {})
    assert killed.signalled == 0
    assert [process.pid for process in killed.left] == [pid]


def test_leftovers_are_killed(queue: Queue) -> None:
    with immortal("another-instance-of-this-test") as pid:
        killed = leftovers.kill_leftovers("another-instance-of-this-test", [], {})
        assert killed.signalled >= 1
        assert killed.complete
        eventually(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))


def test_leftovers_are_killed_however_long_a_look_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_KILLING_S", 0)
    with immortal("slow-instance-of-this-test") as pid:
        assert leftovers.kill_leftovers("slow-instance-of-this-test", [], {}).signalled == 1
        eventually(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))


def test_what_another_service_has_rescued_is_not_tried_again() -> None:
    """Nor is the time of the next try in the past for ever."""
    rescuer = Rescuer(Mock(), Mock(), None, OtherInstances("/queue.db", "own"), Mock())
    rescuer._again_s = {"dead": 0.0}
    assert not rescuer.rescue(Settings())
    assert rescuer.next_s == float("inf")
