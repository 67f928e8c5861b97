"""`queue pause --suspend` freezes the running jobs of a queue; each way to end them still works."""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from queued.core import times
from tests.service import Queue, Service, alive, eventually, let_pass, states_of

pytestmark = pytest.mark.both_engines


def suspend(queue: Queue, name: str = "mail") -> None:
    queue.store.queues.change(name, paused_ms=1, paused_by="ann", suspended_ms=1)


def resume(queue: Queue, name: str = "mail") -> None:
    queue.store.queues.change(name, paused_ms=None, suspended_ms=None)


def start(queue: Queue, service: Service, **fields: object) -> list[int]:
    """Starts the job `frozen` of three processes, and suspends it; returns their pids."""
    before = set(service.descendants())
    script = "(sleep 300; :) & setsid sleep 300; wait"
    queue.add(script, id="frozen", queue="mail", kill_grace=5, **fields)
    eventually(lambda: len(set(service.descendants()) - before) >= 4, "all processes")
    pids = sorted(set(service.descendants()) - before)
    suspend(queue)
    eventually(lambda: states_of(pids) == {"T"}, "all are stopped")
    return pids


def test_a_suspended_job_is_frozen_and_its_timeout_does_not_count(queue: Queue) -> None:
    service = queue.serve(workers=2)
    trace = queue.file("trace")
    script = f"i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo x >> {trace}; sleep 0.02; done"
    queue.add(script, id="frozen", queue="mail", timeout=2.5)
    eventually(trace.exists)
    suspend(queue)
    eventually(lambda: service.logged("queue.suspended"))
    queue.wait(queue.add("true"), "completed")
    printed = trace.read_text()
    queue.wait(queue.add("sleep 3"), "completed")
    assert trace.read_text() == printed
    assert queue.job("frozen").state == "processing"
    assert "1 suspended" in queue.queuectl("status").stdout
    resume(queue)
    assert queue.wait("frozen").label == "completed"
    assert trace.read_text().count("x") == 40


def test_a_warning_whose_time_was_over_at_the_start_is_not_sent_after_a_suspension(
    queue: Queue,
) -> None:
    queue.serve(workers=2)
    begun = queue.file("begun")
    counting = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); sleep 0.05; done"
    script = f"trap 'echo warned; exit 3' USR1; touch {begun}; {counting}"
    limits = {"timeout": 30, "warn_signal": "USR1@30.5"}
    queue.add(script, id="frozen", queue="mail", max_retries=1, **limits)
    eventually(begun.exists)
    suspend(queue)
    queue.wait(queue.add("sleep 1.5"), "completed")
    resume(queue)
    assert queue.wait("frozen").label == "completed"


def test_another_dispatcher_resumes_what_the_one_before_has_suspended(queue: Queue) -> None:
    service = queue.serve(workers=2)
    pids = start(queue, service)
    dispatcher = service.child(0)
    service.kill(dispatcher)  # it does not see that the queue is resumed
    resume(queue)
    service.replaced(0, dispatcher)
    eventually(lambda: "T" not in states_of(pids), "they go on")
    suspend(queue)
    eventually(lambda: states_of(pids) == {"T"})
    assert queue.cancel("frozen") == "processing"
    assert queue.wait("frozen").label == "cancelled"
    assert not any(map(alive, pids))


# Prints each end and each stop of its child, which it waits for as su(1) does.
WATCHER = """
import os, subprocess, sys
child = subprocess.Popen(["sh", "-c", sys.argv[1]]).pid
while True:
    status = os.waitpid(child, os.WUNTRACED)[1]
    if not os.WIFSTOPPED(status):
        sys.exit(print(f"rc={os.waitstatus_to_exitcode(status)}"))
    print("stopped", flush=True)
"""
PARENTS = {
    "another group": ("bash", "-c", 'set -m; sh -c "$0"; echo rc=$?'),
    "the same group": (sys.executable, "-IS", "-c", WATCHER),
    "another session": ("script", "-qe", "/dev/null", "-c"),
}


def start_parent(queue: Queue, service: Service, parent: str) -> tuple[str, list[int], Path]:
    """Starts a job whose child prints `ready` and waits for a fifo; returns id, pids and fifo."""
    before = set(service.descendants())
    fifo = queue.file("fifo")
    os.mkfifo(fifo)
    child = f"echo ready; exec cat {fifo}"
    name = queue.add(f"exec {shlex.join([*PARENTS[parent], child])} </dev/null", queue="mail")
    eventually(lambda: queue.output(name))
    pids = sorted(set(service.descendants()) - before)
    assert len(pids) == 2
    return name, pids, fifo


def finish(pids: list[int], fifo: Path) -> None:
    """Ends the child of a resumed job, but not at once: script(1) may miss that."""
    let_pass(0.5)
    eventually(lambda: "T" not in states_of(pids), "all go on")
    fifo.write_text("end\n")


@pytest.mark.parametrize("parent", PARENTS)
def test_a_command_does_not_notice_a_suspension_of_its_children(queue: Queue, parent: str) -> None:
    service = queue.serve(workers=2)
    name, pids, fifo = start_parent(queue, service, parent)
    suspend(queue)
    eventually(lambda: states_of(pids) == {"T"}, "all are stopped")
    resume(queue)
    finish(pids, fifo)
    assert queue.wait(name).label == "completed"
    printed = queue.output(name).decode().split()
    assert printed == ["ready", "end", *(["rc=0"] if parent != "another session" else [])]


def test_a_run_that_is_suspended_again_at_once_stays_so(queue: Queue) -> None:
    service = queue.serve(workers=2)
    name, pids, fifo = start_parent(queue, service, "another session")
    for _ in range(3):
        suspend(queue)
        eventually(lambda: states_of(pids) == {"T"}, "all are stopped")
        resume(queue)
        eventually(lambda: "T" not in states_of(pids[1:]), "the child goes on")
    suspend(queue)
    eventually(lambda: states_of(pids) == {"T"}, "all are stopped")
    let_pass(0.6)
    assert states_of(pids) == {"T"}
    resume(queue)
    finish(pids, fifo)
    assert queue.wait(name).label == "completed"


def test_what_is_stopped_otherwise_stays_so_after_a_suspension(queue: Queue) -> None:
    service = queue.serve(workers=2)
    name, pids, _ = start_parent(queue, service, "the same group")
    os.kill(pids[1], signal.SIGSTOP)
    eventually(lambda: b"stopped" in queue.output(name))
    suspend(queue)
    eventually(lambda: states_of(pids) == {"T"}, "all are stopped")
    resume(queue)
    eventually(lambda: "T" not in states_of(pids[:1]), "the parent goes on")
    assert states_of(pids[1:]) == {"T"}
    queue.store.edits.signal([queue.store.find(name)], "STOP")
    eventually(lambda: states_of(pids) == {"T"}, "all are stopped")
    let_pass(0.6)
    assert states_of(pids) == {"T"}


def _cancel(queue: Queue, _service: Service) -> None:
    queue.cancel("frozen")
    queue.wait("frozen", "cancelled")


def _deadline(queue: Queue, _service: Service) -> None:
    assert "the deadline" in str(queue.wait("frozen", "dead").last_error)


def _kill_worker(queue: Queue, service: Service) -> None:
    service.kill(service.worker_of("frozen"))
    queue.wait("frozen", "dead")


def _kill_supervisor(queue: Queue, service: Service) -> None:
    service.kill(service.pid)
    queue.serve()
    queue.wait("frozen", "dead")


def _kill_service(queue: Queue, service: Service) -> None:
    service.kill_instance()
    queue.serve()
    queue.wait("frozen", "dead")


def _stop(queue: Queue, service: Service) -> None:
    queue.configure("shutdown_grace", "0.5")
    assert service.stop() == 0
    assert queue.job("frozen").state == "pending"


ENDS = [_cancel, _deadline, _kill_worker, _kill_supervisor, _kill_service, _stop]


@pytest.mark.parametrize("end", ENDS)
def test_a_suspended_job_can_be_ended(queue: Queue, end: Callable[[Queue, Service], None]) -> None:
    service = queue.serve(workers=2)
    deadline = {"deadline": times.iso(times.now_ms() + 4000)} if end is _deadline else {}
    pids = start(queue, service, max_retries=1, **deadline)
    end(queue, service)
    eventually(lambda: not any(map(alive, pids)), "none is left")
