"""A stop ends even if the database refuses; its exit code tells if not all was recorded."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from queued.core.errors import Exit
from queued.service.linux import libc, procfs
from tests.service import HANGS_SOON, Queue, Service, alive, altered, eventually, locked, states_of

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
pytestmark = pytest.mark.both_engines


@pytest.fixture
def control(queue: Queue) -> Path:
    """The disk is full while this file is there."""
    return queue.directory.with_suffix(".full")


RECORDS_FOR_A_SECOND = "constant=queued.service.supervisor.supervisor._RECORD_S=1.0"


def running(queue: Queue, service: Service, command: str) -> str:
    """Enqueues a job and waits until its command runs."""
    name = queue.add(f"touch {queue.file('begun')}; {command}")
    eventually(queue.file("begun").exists)
    assert service.process.poll() is None
    return name


def refused_to_record(service: Service) -> None:
    """Checks that the stop ends with 74 and logs why, some time after the last command."""
    assert service.ended() == Exit.IO
    stopping = service.logged("service.stopping")[-1]
    assert stopping["cause"] == "the results could not be recorded in time"
    (failed,) = service.logged("service.failed")
    assert failed["exit_code"] == Exit.IO
    assert "not all was recorded" in failed["error"]


@pytest.mark.sqlite_only
def test_on_a_full_disk(queue: Queue, control: Path) -> None:
    service = queue.spawn(program=altered(f"full={control}", RECORDS_FOR_A_SECOND)).ready()
    name = running(queue, service, f"until [ -e {queue.file('go')} ]; do sleep 0.05; done")
    control.touch()
    queue.file("go").touch()
    service.process.terminate()
    refused_to_record(service)
    control.unlink()
    queue.serve()
    assert queue.wait(name).label == "completed"


def test_while_another_program_holds_the_lock(queue: Queue) -> None:
    service = queue.spawn(program=altered(RECORDS_FOR_A_SECOND)).ready()
    running(queue, service, "sleep 0.5")
    with locked(queue.path):
        service.process.terminate()
        refused_to_record(service)


def test_a_signal_while_the_rest_is_recorded_changes_nothing(queue: Queue) -> None:
    service = queue.serve()
    with locked(queue.path):
        for number in (signal.SIGTERM, signal.SIGINT):
            service.process.send_signal(number)
            eventually(lambda: _stage(service) == "finishing")
    assert service.ended() == Exit.DONE


def _stage(service: Service) -> str:
    described = len(service.logged("service.described"))
    service.process.send_signal(signal.SIGUSR1)
    return str(eventually(lambda: service.logged("service.described")[described:])[0]["stage"])


@pytest.mark.sqlite_only
def test_all_is_recorded_and_no_dispatcher_can_start(queue: Queue, control: Path) -> None:
    service = queue.spawn(program=altered(f"full={control}")).ready()
    control.touch()
    service.kill(service.child(0))
    eventually(lambda: len(service.logged("child.died", slot=0)) > 2)
    service.process.terminate()
    assert service.ended(within_s=5) == Exit.DONE
    assert not service.logged("service.failed")


def test_with_a_worker_that_a_debugger_holds(queue: Queue) -> None:
    """The tracer is this process; it does not collect the worker, which stays a zombie."""
    service = queue.spawn(workers=1, program=altered(HANGS_SOON)).ready()
    name = running(queue, service, "sleep 60")
    worker = service.child(1)
    libc.checked(libc.C.ptrace(PTRACE_SEIZE, worker, None, None))
    libc.checked(libc.C.ptrace(PTRACE_INTERRUPT, worker, None, None))
    eventually(lambda: states_of([worker]) == {"t"})
    for event in ("service.draining", "service.stopping"):
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda event=event: service.logged(event))  # type: ignore[misc]
    assert service.ended() == Exit.DONE
    assert service.logged("child.hung", child_pid=worker)
    assert (queue.job(name).label, queue.attempts(name)[0].outcome) == ("failed", "lost")
    assert states_of([worker]) == {"Z"}
    os.waitpid(worker, 0)


def test_a_command_that_runs_is_waited_for(queue: Queue) -> None:
    service = queue.spawn(program=altered(RECORDS_FOR_A_SECOND)).ready()
    name = running(queue, service, "sleep 1.3")
    service.process.terminate()
    assert service.ended() == Exit.DONE
    assert queue.job(name).label == "completed"


def test_a_third_signal_ends_the_service_with_74(queue: Queue) -> None:
    service = queue.serve()
    running(queue, service, "trap '' TERM; while :; do sleep 0.1; done")
    for event in ("service.draining", "service.stopping"):
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda event=event: service.logged(event))  # type: ignore[misc]
    service.process.send_signal(signal.SIGTERM)
    assert service.ended() == Exit.IO
    assert "not all was recorded" in service.logged("service.failed")[0]["error"]


@pytest.mark.sqlite_only
def test_two_deaths_in_one_slot_while_no_dispatcher_lives(queue: Queue, control: Path) -> None:
    """The death of the worker that ran the job is not forgotten for that of the idle one."""
    service = queue.spawn(workers=1, program=altered(f"full={control}")).ready()
    name = queue.add(f"touch {queue.file('begun')}; sleep 60", max_retries=1)
    eventually(queue.file("begun").exists)
    control.touch()
    service.kill(service.child(0))
    eventually(lambda: len(service.logged("child.died", slot=0)) > 1)
    for _ in range(2):
        worker = service.child(1)
        service.kill(worker)
        service.replaced(1, worker)
    control.unlink()
    job = queue.wait(name)
    assert (job.label, job.attempts, job.runs) == ("dead", 1, 1)


def test_a_run_that_kills_its_supervisor_is_counted(queue: Queue) -> None:
    pid = queue.file("pid")
    name = queue.add(
        f"kill -9 $(cat {pid}); sleep 60", max_retries=2, backoff_base=1, backoff_max=0
    )
    for run in (1, 2):
        service = queue.spawn()
        pid.write_text(str(service.pid))
        service.process.wait(20)
        eventually(lambda run=run: queue.job(name).attempts == run)  # type: ignore[misc]
        eventually(lambda service=service: not any(alive(p.pid) for p in service.own()))  # type: ignore[misc]
    job = queue.job(name)
    assert (job.label, job.runs) == ("dead", 2)
    assert {attempt.outcome for attempt in queue.attempts(name)} == {"lost"}


def test_interruptions_in_a_row_are_bounded(queue: Queue) -> None:
    begun = queue.file("begun")
    name = queue.add(f"echo >> {begun}; sleep 60", max_retries=1)
    for run in (1, 2):
        service = queue.spawn(
            program=altered("constant=queued.service.dispatcher.turn.MOST_INTERRUPTIONS=1")
        ).ready()
        eventually(lambda run=run: begun.exists() and begun.read_text() == run * "\n")  # type: ignore[misc]
        service.process.terminate()
        eventually(lambda service=service: service.logged("service.draining"))  # type: ignore[misc]
        service.process.terminate()
        assert service.ended() == Exit.DONE
    assert [attempt.outcome for attempt in queue.attempts(name)] == ["interrupted", "lost"]
    job = queue.job(name)
    assert (job.label, job.attempts) == ("dead", 1)
    assert job.last_error == "lost: interrupted 2 times in a row"


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGTERM, Exit.NO, "stopped before it was ready"),
        (signal.SIGKILL, Exit.INTERNAL, "did not start"),
    ],
)
def test_background_says_that_the_service_ended_before_it_was_ready(
    queue: Queue, number: int, code: int, says: str
) -> None:
    log = queue.log_path
    started = subprocess.Popen(
        [sys.executable, "-c", BEFORE_READY, "--db", queue.path, "--background"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pids = eventually(lambda: _supervisors(started.pid))
    eventually(lambda: log.exists() and "service.started" in log.read_text())
    os.kill(pids[0], number)
    out, err = started.communicate(timeout=30)
    assert (started.returncode, out) == (code, "")
    assert says in err


BEFORE_READY = """
from queued.service.supervisor.status import StatusReporter
StatusReporter.ready = lambda self: None
from queued.__main__ import main
main()
"""


def _supervisors(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_stop_says_how_a_service_that_a_signal_has_stopped_goes_on(queue: Queue) -> None:
    service = queue.serve(workers=1)
    os.kill(service.process.pid, signal.SIGSTOP)
    eventually(lambda: procfs.read(f"/proc/{service.process.pid}/stat").split()[2] == b"T")
    done = queue.queuectl("worker", "stop", "--timeout", "0.1")
    assert done.returncode == 124
    assert f"stopped by a signal; let it go on: kill -CONT {service.process.pid}\n" in done.stderr
    os.kill(service.process.pid, signal.SIGCONT)
    assert service.ended() == 0
