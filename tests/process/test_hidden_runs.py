"""After a kill of the whole service: processes of runs without descent and environment."""

import fcntl
import os
import signal
import sys

import pytest

from queued.store import instance_lock
from tests.process.marked_sleep import MarkedSleep
from tests.service import RESCUES_OFTEN, Queue, altered, eventually

PYTHON = f"{sys.executable} -S -c"
WITHOUT_DESCRIPTORS = "import os; os.closerange(3, 1024); os.execvp('sleep', ['sleep', 'LONG'])"
ELSEWHERE = """
import os, sys
inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
os.execvp("unshare", [*inside, sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    "daemon",
    [
        f'env -i setsid {PYTHON} "{WITHOUT_DESCRIPTORS}"',
        "env -i prlimit --rttime=unlimited setsid sleep LONG",
    ],
    ids=["bears only the mark", "holds only the lock"],
)
def test_a_daemon_without_environment_is_killed_before_its_job_runs_again(
    queue: Queue, daemon: str
) -> None:
    left, leader = MarkedSleep(), MarkedSleep()
    service = queue.serve(workers=1)
    orphan = daemon.replace("LONG", str(left))
    name = queue.add_once(f"{{ ({orphan} >/dev/null 2>&1 &); sleep {leader}; }}")
    eventually(lambda: left.living() and leader.living())
    service.kill_instance()
    queue.serve(workers=1)
    assert queue.wait(name).label == "completed"
    assert left.living() == leader.living() == []
    assert [run.outcome for run in queue.attempts(name)] == ["lost", "exit"]


@pytest.mark.sqlite_only  # over PostgreSQL another namespace is another host
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a pid namespace")
def test_a_run_in_another_pid_namespace_is_waited_for(queue: Queue, sleeper: MarkedSleep) -> None:
    first = queue.serve(workers=1)
    name = queue.add_once(f"exec sleep {sleeper}")
    (pid,) = eventually(sleeper.living)
    first.kill_instance()
    second = queue.spawn(workers=1, program=("-c", ELSEWHERE, *altered(RESCUES_OFTEN))).ready()
    (said,) = eventually(lambda: second.logged("instance.not_rescued"))
    assert said["lock"].endswith(f"{first.instance}.lock")
    assert queue.job(name).label == "processing"
    os.kill(pid, signal.SIGKILL)
    assert queue.wait(name).label == "completed"
    assert [run.outcome for run in queue.attempts(name)] == ["lost", "exit"]


def test_a_shared_lock_on_the_file_of_a_dead_instance_is_logged(queue: Queue) -> None:
    first = queue.serve(workers=1)
    name = queue.add_once("exec sleep 1000")
    queue.wait(name, "processing")
    lock = instance_lock.path_of(queue.engine.instance_files, first.instance)
    with open(lock, "rb") as file:
        first.kill_instance()
        fcntl.flock(file, fcntl.LOCK_SH)
        second = queue.spawn(workers=1, program=altered(RESCUES_OFTEN)).ready()
        (said,) = eventually(lambda: second.logged("instance.not_rescued"))
        assert (said["dead"], said["lock"], said["pids"]) == (first.instance, lock, [os.getpid()])
        assert queue.wait(queue.add("true")).label == "completed"
        assert queue.job(name).label == "processing"
    assert queue.wait(name).label == "completed"
