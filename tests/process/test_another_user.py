"""A service without root: its limits of processes, and processes that became another user's."""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.marked_sleep import MarkedSleep
from tests.service import (
    RESCUES_OFTEN,
    STUCK_SOON,
    Queue,
    Service,
    alive,
    altered,
    cleaned_up,
    eventually,
    run_program,
    run_python,
)

pytestmark = pytest.mark.sqlite_only
USER = 50_000 + os.getpid() % 10_000  # of this test alone, so that its processes can be counted
OTHER = USER + 10_000
HIDDEN = f"""
import os, sys
hide = 'mount -t proc -o hidepid=$HIDEPID proc /proc && exec "$@"'
become = [sys.executable, "-m", "tests.process.as_another_user", "{USER}", "queued", *sys.argv[1:]]
os.execvp("unshare", ["unshare", "-m", "sh", "-c", hide, "sh", *become])
"""


@pytest.fixture(params=["root"] if os.geteuid() == 0 else [])
def theirs() -> Iterator[Queue]:
    """A queue in a directory of that user."""
    directory = tempfile.mkdtemp(prefix="queued-another-")
    os.chown(directory, USER, USER)
    try:
        with cleaned_up(Queue(Path(directory))) as made:
            yield made
    finally:
        shutil.rmtree(directory)


def _serve(queue: Queue, workers: int = 2) -> Service:
    program = ("-m", "tests.process.as_another_user", str(USER))
    _, *words = altered(STUCK_SOON, RESCUES_OFTEN)
    return queue.spawn(workers=workers, program=(*program, *words)).ready()


def _add_another(queue: Queue, sleeper: MarkedSleep) -> str:
    """Adds a job whose first run becomes another user's; returns its id."""
    return queue.add_once(f"exec setpriv --reuid={OTHER} sleep {sleeper}", kill_grace=0.1)


def _pid_of_another(sleeper: MarkedSleep) -> int:
    """Waits until the other user has one process that sleeps; returns its pid."""
    (pid,) = eventually(
        lambda: [p for p in sleeper.living() if os.stat(f"/proc/{p}").st_uid == OTHER]
    )
    return pid


def _waits_for(queue: Queue, name: str, pid: int) -> None:
    """Checks that another service does not run the job before that process has ended."""
    second = _serve(queue)
    eventually(lambda: second.logged("instance.not_rescued"))
    assert queue.job(name).label == "processing"
    os.kill(pid, signal.SIGKILL)
    assert queue.wait(name).label == "completed"


def test_a_limit_of_processes_is_in_force(theirs: Queue) -> None:
    _serve(theirs)
    name = theirs.add("sleep 9 & sleep 9 & wait", limits={"processes": 1}, max_retries=1)
    assert theirs.wait(name).label == "dead"
    (run,) = theirs.attempts(name)
    assert (run.outcome, run.exit_code) == ("exit", 2)
    assert b"fork" in theirs.output(name)


def test_a_job_that_multiplies_is_held_by_its_limit(theirs: Queue, sleeper: MarkedSleep) -> None:
    """Other jobs run meanwhile, and no process of it is left."""
    service = _serve(theirs)
    bomb = f"(while :; do setsid sleep {sleeper} & done)"
    name = theirs.add(f"sleep 1 & {bomb}; wait; exit 3", limits={"processes": 40}, max_retries=1)
    assert eventually(lambda: 30 < len(sleeper.living()) <= 40)
    for n in range(10):
        assert theirs.wait(theirs.add("true & wait", id=f"beside{n}")).label == "completed"
    assert theirs.wait(name).label == "dead"
    assert [(run.outcome, run.exit_code) for run in theirs.attempts(name)] == [("exit", 3)]
    assert sleeper.living() == []
    assert len(service.descendants()) == 3


def test_processes_that_may_not_be_killed_are_logged_and_waited_for(
    theirs: Queue, sleeper: MarkedSleep
) -> None:
    """The job is not over, and does not run again, while a process of it is alive."""
    service = _serve(theirs)
    fields = {"timeout": 0.3, "kill_grace": 0.2, "max_retries": 1}
    name = theirs.add(f"setpriv --reuid={OTHER} sleep {sleeper} & wait", **fields)
    eventually(lambda: service.logged("job.unkillable", job=name))
    (pid,) = sleeper.living()
    for n in range(20):
        assert theirs.wait(theirs.add("sleep 0.05", id=f"beside{n}")).label == "completed"
    assert theirs.job(name).label == "processing"
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert theirs.wait(name).label == "dead"
    assert [run.outcome for run in theirs.attempts(name)] == ["timeout"]
    assert len(service.logged("job.unkillable")) == 1
    assert service.stop() == 0


def test_a_stop_waits_for_processes_that_may_not_be_killed(
    theirs: Queue, sleeper: MarkedSleep
) -> None:
    service = _serve(theirs)
    name = theirs.add(f"setpriv --reuid={OTHER} sleep {sleeper}", kill_grace=0.1)
    pid = _pid_of_another(sleeper)
    service.process.send_signal(signal.SIGTERM)
    service.process.send_signal(signal.SIGINT)
    eventually(lambda: service.logged("job.unkillable", job=name))
    assert service.process.poll() is None
    os.kill(pid, signal.SIGKILL)
    assert service.ended() == 0
    assert [run.outcome for run in theirs.attempts(name)] == ["interrupted"]


def test_a_rescue_waits_for_processes_that_may_not_be_killed(
    theirs: Queue, sleeper: MarkedSleep
) -> None:
    first = _serve(theirs)
    name = _add_another(theirs, sleeper)
    pid = _pid_of_another(sleeper)
    first.kill_instance()
    _waits_for(theirs, name, pid)


def test_the_job_of_a_dead_worker_waits_for_processes_that_may_not_be_killed(
    theirs: Queue, sleeper: MarkedSleep
) -> None:
    """Other jobs run meanwhile, also after the dispatcher was replaced."""
    service = _serve(theirs)
    name = _add_another(theirs, sleeper)
    pid = _pid_of_another(sleeper)
    worker, dispatcher = service.worker_of(name), service.child(0)
    service.kill(worker)
    eventually(lambda: service.logged("child.leftovers_stay", pids=[pid]))
    for n in range(20):
        assert theirs.wait(theirs.add("sleep 0.02", id=f"beside{n}")).label == "completed"
    service.kill(dispatcher)
    assert theirs.wait(theirs.add("true", id="after")).label == "completed"
    assert theirs.job(name).label == "processing"
    os.kill(pid, signal.SIGKILL)
    assert theirs.wait(name).label == "completed"
    assert [run.outcome for run in theirs.attempts(name)] == ["lost", "exit"]
    assert len(service.logged("child.leftovers_stay")) == 1
    assert len(service.descendants()) == 3


def test_a_stop_waits_for_the_processes_of_a_dead_worker(
    theirs: Queue, sleeper: MarkedSleep
) -> None:
    service = _serve(theirs)
    name = theirs.add(f"exec setpriv --reuid={OTHER} sleep {sleeper}")
    pid = _pid_of_another(sleeper)
    service.kill(service.worker_of(name))
    eventually(lambda: service.logged("child.leftovers_stay"))
    service.process.send_signal(signal.SIGTERM)
    eventually(lambda: service.logged("child.exited", child="worker"))
    assert service.process.poll() is None
    os.kill(pid, signal.SIGKILL)
    assert service.ended() == 0
    assert [run.outcome for run in theirs.attempts(name)] == ["lost"]


def test_a_forced_stop_leaves_the_claim_of_what_may_not_be_killed(
    theirs: Queue, sleeper: MarkedSleep
) -> None:
    """The next service waits for the process, as after a crash."""
    first = _serve(theirs)
    name = _add_another(theirs, sleeper)
    pid = _pid_of_another(sleeper)
    first.process.send_signal(signal.SIGTERM)
    first.process.send_signal(signal.SIGINT)
    eventually(lambda: first.logged("job.unkillable", job=name))
    first.process.send_signal(signal.SIGTERM)
    first.ended()
    _waits_for(theirs, name, pid)


@pytest.mark.parametrize("hidepid", ["0", "2"])
def test_a_process_that_is_not_dumpable_is_killed_before_its_job_runs_again(
    theirs: Queue, hidepid: str
) -> None:
    """It has left its session and closed its descriptors. With hidepid=2, /proc hides it."""
    first = theirs.spawn(program=("-c", HIDDEN), env={"HIDEPID": hidepid}).ready()
    left, ready = MarkedSleep(), theirs.file("ready")
    hide = "import ctypes, os, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); os.closerange(3, 999)"
    program = f"{hide}; print(os.getpid(), flush=True); time.sleep({left})"
    daemon = f'(setsid {sys.executable} -S -c "{program}" >{ready} 2>&1 &)'
    name = theirs.add_once(f"{{ {daemon}; sleep 1000; }}")
    pid = int(eventually(lambda: ready.exists() and ready.read_text()))
    first.kill_instance()
    theirs.spawn(program=("-c", HIDDEN), env={"HIDEPID": hidepid}).ready()
    assert theirs.wait(name).label == "completed"
    assert not alive(pid)


def test_a_service_runs_where_proc_hides_other_users(theirs: Queue, sleeper: MarkedSleep) -> None:
    """With hidepid=1, /proc lists the processes of other users, and they cannot be read."""
    service = theirs.spawn(program=("-c", HIDDEN), env={"HIDEPID": "1"}).ready()
    name = theirs.add(f"sleep {sleeper} & echo done")
    assert theirs.wait(name).label == "completed"
    assert sleeper.living() == []
    theirs.add(f"sleep {sleeper}", id="lost")
    eventually(sleeper.living)
    service.kill(service.worker_of("lost"))
    eventually(lambda: len(theirs.attempts("lost")) == 1 and theirs.job("lost").attempts == 1)
    assert not service.logged("process.failed")
    assert service.stop() == 0


@pytest.mark.parametrize("ending", ["timeout", "cancel", "exit"])
def test_a_daemon_that_proc_hides_is_ended_with_its_run(theirs: Queue, ending: str) -> None:
    """With hidepid=2, /proc does not list a process that is not dumpable."""
    service = theirs.spawn(program=("-c", HIDDEN), env={"HIDEPID": "2"}, workers=1).ready()
    left = MarkedSleep()
    ready = theirs.file("ready")
    wait = f"until [ -e {ready} ]; do sleep 0.01; done" + ("" if ending == "exit" else "; sleep 60")
    fields = {"timeout": 1} if ending == "timeout" else {}
    hide = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)"
    program = f"{hide}; open('{ready}', 'w'); time.sleep({left})"
    daemon = f'(setsid {sys.executable} -S -c "{program}" >/dev/null 2>&1 &)'
    name = theirs.add(f"{daemon}; {wait}", kill_grace=0.2, max_retries=1, **fields)
    if ending == "cancel":
        eventually(ready.exists)
        theirs.cancel(name)
    label = {"timeout": "dead", "cancel": "cancelled", "exit": "completed"}[ending]
    assert theirs.wait(name).label == label
    assert left.living() == []
    assert not service.logged("job.unkillable")
    assert theirs.wait(theirs.add("true")).label == "completed"


def test_a_user_who_may_only_read_looks_with_and_without_a_service(theirs: Queue) -> None:
    theirs.add("true", id="a")
    theirs.store.close()
    _readable(theirs)
    _looks_at_all(theirs)
    assert _looks(theirs, "cancel", "a")[0] == 77
    service = theirs.spawn(program=("-m", "tests.process.as_another_user", str(USER), "queued"))
    service.ready()
    _readable(theirs)
    assert _looks(theirs, "wait", "a") == (0, "a completed\n")
    _looks_at_all(theirs)
    service.kill_instance()
    assert _looks(theirs, "list", "--quiet") == (0, "a\n")


def _looks_at_all(queue: Queue) -> None:
    """Every command that only looks prints what it prints for the owner."""
    assert _looks(queue, "list", "--quiet") == (0, "a\n")
    assert _looks(queue, "complete", "jobs") == (0, "a\n")
    code, out = _looks(queue, "db", "check", "--json")
    assert (code, json.loads(out)["problems"]) == (0, [])
    code, out = _looks(queue, "db", "stats", "--json")
    assert (code, json.loads(out)["rows"]["jobs"]) == (0, 1)


def _readable(queue: Queue) -> None:
    """Lets every user read the files of the queue. SQLite gives new side files the same mode."""
    queue.directory.chmod(0o755)
    for file in queue.directory.glob("queue.db*"):
        file.chmod(0o644)
        os.chown(file, USER, USER)


def _looks(queue: Queue, *words: str) -> tuple[int, str]:
    """Runs `queuectl` as a user who may read, and not write, every file."""
    right = "+dac_read_search"  # to read our Python
    done = run_program(
        *("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"),
        *(f"--inh-caps={right}", f"--ambient-caps={right}"),
        *(sys.executable, "-m", "queued.ctl", "--db", queue.path, *words),
    )
    return done.returncode, done.stdout


def test_root_writes_no_log_through_a_link_of_another_user(theirs: Queue, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.touch()
    log = theirs.file("log")
    log.symlink_to(precious)
    words = ["--db", str(tmp_path / "own.db"), "--background", "--log-file", str(log)]
    done = run_python("-m", "queued", *words)
    assert done.returncode == 77
    assert f"{theirs.directory} is refused: it belongs to the user" in done.stderr
    assert precious.read_text() == ""
