"""What happens if a process of a service is killed: nothing is lost, and nothing runs twice."""

import os
import signal
from itertools import pairwise

from tests.service import WATCHED, Queue, alive, eventually

SLOW = "echo $$ >> {0}.pids; echo start >> {0}; sleep {1}; echo end >> {0}"


def slow(queue: Queue, seconds: float, name: str = "trace") -> str:
    """A command that writes down its start and its end."""
    return SLOW.format(queue.file(name), seconds)


def trace(queue: Queue, name: str = "trace") -> list[str]:
    path = queue.file(name)
    return path.read_text().split() if path.exists() else []


def test_a_killed_worker_loses_its_attempt_and_nothing_of_it_lives(queue: Queue) -> None:
    service = queue.serve(workers=2)
    name = queue.add(slow(queue, 100) + " & wait", max_retries=1)
    eventually(lambda: trace(queue) == ["start"])
    command = [pid for pid in service.descendants() if pid not in map(service.child, (0, 1, 2))]
    worker = service.worker_of(name)
    service.kill(worker)
    job = queue.wait(name)
    assert (job.label, job.attempts) == ("dead", 1)
    assert queue.attempts(name)[0].outcome == "lost"
    assert not [pid for pid in command if alive(pid)]
    slot = queue.attempts(name)[0].worker
    service.replaced(slot, worker)
    assert queue.wait(queue.add("true")).label == "completed"


def test_a_killed_dispatcher_harms_no_running_job(queue: Queue) -> None:
    service = queue.serve(workers=2)
    name = queue.add(slow(queue, 1.0))
    eventually(lambda: trace(queue) == ["start"])
    for _ in range(3):
        pid = service.child(0)
        service.kill(pid)
        service.replaced(0, pid)
    job = queue.wait(name)
    assert (job.label, job.runs) == ("completed", 1)
    assert trace(queue) == ["start", "end"]


def test_a_result_is_kept_while_there_is_no_dispatcher(queue: Queue) -> None:
    service = queue.serve(workers=1, env=WATCHED)
    name = queue.add(slow(queue, 0.3) + "; echo printed")
    eventually(lambda: trace(queue) == ["start"])
    pid = service.child(0)
    service.kill(pid, signal.SIGSTOP)  # it hears nothing until it is killed
    eventually(lambda: trace(queue) == ["start", "end"])
    service.kill(pid)
    assert queue.wait(name).label == "completed"
    assert queue.job(name).runs == 1
    assert queue.output(name) == b"printed\n"


def test_a_killed_supervisor_has_all_children_end_and_the_run_is_lost(queue: Queue) -> None:
    service = queue.serve(workers=2)
    name = queue.add(slow(queue, 100))
    eventually(lambda: trace(queue) == ["start"])
    pids = service.descendants()
    service.kill(service.pid)
    service.process.wait()
    eventually(lambda: not [pid for pid in pids if alive(pid)], "children end")
    job = queue.job(name)
    assert (job.label, job.attempts) == ("failed", 1)
    assert queue.attempts(name)[0].outcome == "lost"


def test_a_whole_instance_killed_at_once_is_rescued_by_the_next_start(queue: Queue) -> None:
    service = queue.serve(workers=2)
    name = queue.add(slow(queue, 100), backoff_max=0)
    eventually(lambda: trace(queue) == ["start"])
    command = int(queue.file("trace.pids").read_text())
    service.kill_instance()
    assert alive(command)  # an orphan, until the next start
    assert queue.job(name).label == "processing"
    queue.serve(workers=2)
    eventually(lambda: trace(queue).count("start") == 2)
    assert not alive(command)
    assert queue.attempts(name)[0].outcome == "lost"
    assert queue.job(name).attempts == 1
    assert len(queue.store.instances()) == 1


def test_a_living_instance_rescues_a_dead_one_at_once(queue: Queue) -> None:
    first = queue.serve(workers=1)
    name = queue.add(slow(queue, 100), backoff_max=0)
    eventually(lambda: trace(queue) == ["start"])
    second = queue.serve(workers=1)
    first.kill_instance()
    eventually(lambda: trace(queue).count("start") == 2)
    assert queue.attempts(name)[1].instance == second.instance
    assert second.logged("instance.rescued", dead=first.instance)


def test_two_instances_do_not_rescue_each_other(queue: Queue) -> None:
    first, second = queue.serve(workers=2), queue.serve(workers=2)
    queue.add_all([f"echo x >> {queue.file('lines')}"] * 50)
    queue.wait_all(50)
    assert len(queue.file("lines").read_text().split()) == 50
    assert first.stop() == second.stop() == 0
    assert not first.logged("instance.rescued")
    assert not second.logged("instance.rescued")


def test_a_child_that_dies_again_and_again_is_restarted_with_growing_delay(queue: Queue) -> None:
    service = queue.serve(workers=1)
    for _ in range(4):
        pid = service.child(1)
        service.kill(pid)
        service.replaced(1, pid)
    starts = [_seconds(line["ts"]) for line in service.logged("child.started", slot=1)]
    deaths = [_seconds(line["ts"]) for line in service.logged("child.died", slot=1)]
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps[3] >= 0.4 > starts[1] - deaths[0]


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_commands_have_the_lock_of_runs_open_and_nothing_else_of_the_service(queue: Queue) -> None:
    queue.serve(workers=1)
    name = queue.add("ls -l /proc/self/fd /proc/$$/fd")
    queue.wait(name)
    shown = queue.output(name)
    opened = [line for line in shown.splitlines() if b"queue.db" in line]
    assert len(opened) == 2
    assert all(line.startswith(b"lr-x") and b" 200 -> " in line for line in opened)
    assert b"socket" not in shown


def test_sigkill_of_the_group_of_the_service_is_rescued(queue: Queue) -> None:
    service = queue.serve(workers=3)
    queue.add_all([slow(queue, 0.2, f"t{n}") for n in range(6)], backoff_max=0)
    eventually(lambda: trace(queue, "t0") == ["start"])
    os.killpg(service.pid, signal.SIGKILL)
    service.process.wait()
    queue.serve(workers=3)
    queue.wait_all(6)
    for n in range(6):
        assert trace(queue, f"t{n}")[-1] == "end"
