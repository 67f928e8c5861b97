"""Commands that hide their mark are found by their sessions; other processes are not."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.core.errors import StorageError
from queued.core.run_note_layout import CommandSession
from queued.core.runs import Key
from queued.ctl.live_services import command_pids
from queued.service.dispatcher import leftovers
from queued.service.dispatcher.leftovers import RunSessions
from queued.service.ipc import run_notes
from queued.service.ipc.run_notes import RunNotes
from queued.service.linux import procfs
from queued.service.linux.killing import Found, Killed
from queued.store import instance_lock
from tests.claims import make_claim
from tests.process.marked_sleep import MarkedSleep
from tests.service import Queue, alive, eventually


@pytest.fixture
def leader() -> Iterator[procfs.Process]:
    """A process that leads a session."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        eventually(lambda: os.getsid(process.pid) == process.pid)
        found = procfs.read_process(process.pid)
        assert found is not None
        yield found
        process.kill()


def _orphan(sleeper: MarkedSleep) -> int:
    """Returns the pid of a process in a session whose leader is gone."""
    subprocess.run(["setsid", "-w", "sh", "-c", f"sleep {sleeper} > /dev/null & true"], check=True)
    (pid,) = eventually(sleeper.living)  # its shell does not wait for its exec
    return pid


def test_a_job_without_its_mark_is_killed_before_it_runs_again(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    first = queue.serve()
    command = f"exec env -i sh -c 'sleep {sleeper} & setsid sleep {sleeper} & wait'"
    name = queue.add_once(command)
    eventually(lambda: len(sleeper.living()) == 3)
    first.kill_instance()
    queue.serve()
    assert queue.wait(name).label == "completed"
    assert sleeper.living() == []
    assert [run.outcome for run in queue.attempts(name)] == ["lost", "exit"]


def test_worker_list_shows_the_pid_of_the_command(queue: Queue, sleeper: MarkedSleep) -> None:
    queue.serve(workers=1)
    name = queue.add(f"exec sleep {sleeper}")
    (pid,) = eventually(sleeper.living)
    (service,) = json.loads(queue.queuectl("worker", "list", "--json").stdout)
    (worker,) = service["workers"]
    assert (worker["job"], worker["command_pid"]) == (name, pid)
    assert f" {worker['pid']} {pid:8} " in queue.queuectl("worker", "list").stdout


def test_pids_of_commands_that_live_are_read_from_the_lock_file(tmp_path: Path) -> None:
    database = str(tmp_path / "queue.db")
    notes = RunNotes(instance_lock.create_locked(instance_lock.path_of(database, "i")))
    for slot, pid in ((1, os.getpid()), (2, 1 << 30)):
        notes.make_room(slot)
        notes.note(slot).record_starting(slot * 10)
        notes.note(slot).record_pid(pid)
    assert command_pids(database, "i") == {10: os.getpid()}
    assert command_pids(database, "other") == {}


def test_a_note_outlives_its_worker_and_is_found_by_the_claim(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    made = RunNotes(lock)
    for slot in (1, 2, 1024):
        made.make_room(slot)
        made.note(slot).record_starting(slot * 10)
        made.note(slot).record_pid(slot * 100)
    made.note(2).record_starting(21)
    assert made.last(2) == 21
    made.note(2).record_pid(201)
    del made
    found = run_notes.read_notes(lock)
    assert found is not None
    assert {token: session.leader for token, session in found.items()} == {
        10: 100,
        21: 201,
        10240: 102400,
    }
    os.close(lock)


def test_a_run_note_of_another_boot_is_ignored(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    assert run_notes.read_notes(lock) is None  # nor does a file without notes
    made = RunNotes(lock)
    made.make_room(1)
    assert run_notes.read_notes(lock) == {}, "the notes show that no run has begun"
    made.note(1).record_starting(1)
    made.note(1).record_pid(1)
    assert list(run_notes.read_notes(lock) or {}) == [1]
    os.pwrite(lock, b"x", 0)
    assert run_notes.read_notes(lock) is None
    os.close(lock)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a time namespace")
def test_a_note_of_another_time_namespace_says_nothing(tmp_path: Path) -> None:
    """Times since boot mean something else there: a pid that was reused would be killed."""
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    RunNotes(lock).make_room(1)
    reader = "from queued.service.ipc import run_notes; print(run_notes.read_notes(0))"
    inside = ["unshare", "--time", "--boottime=3600", "--fork"]
    for words, notes in (([], "{}"), (inside, "None")):
        done = subprocess.run(
            [*words, sys.executable, "-c", reader], stdin=lock, stdout=subprocess.PIPE, check=True
        )
        assert done.stdout.decode().strip() == notes
    os.close(lock)


def test_a_job_that_truncates_the_lock_file_ends_no_other_run(queue: Queue) -> None:
    """The kernel kills a process that uses a part of a mapped file that was cut off."""
    service = queue.serve(workers=1)
    pids = {process.pid for process in service.own()}
    queue.wait(queue.add(f"truncate -s 0 {queue.engine.instance_files}.*.lock"))
    assert queue.wait(queue.add("true")).runs == 1
    assert {process.pid for process in service.own()} == pids
    name = queue.add_once(
        f"{{ truncate -s 0 {queue.engine.instance_files}.*.lock; kill -9 $PPID; }}"
    )
    assert queue.wait(name).label == "completed"
    assert service.stop() == 0
    assert [run.outcome for run in queue.attempts(name)] == ["lost", "exit"]


def test_a_lock_file_that_cannot_grow_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    lock = os.open(tmp_path / "lock", os.O_RDONLY)
    with pytest.raises(StorageError, match="cannot make the lock file 32896 bytes long"):
        RunNotes(lock)
    os.close(lock)


def test_a_session_is_known_by_its_leader(leader: procfs.Process) -> None:
    followed = RunSessions([CommandSession(leader.pid, leader.started)])
    assert followed.scan() == Found([leader], [])


def test_a_pid_that_is_used_again_is_left_alone(leader: procfs.Process) -> None:
    followed = RunSessions([CommandSession(leader.pid, leader.started - 1)])
    assert followed.scan() == Found([], [])
    os.kill(leader.pid, signal.SIGKILL)
    assert followed.scan() == Found([], [])


def test_a_session_without_its_leader_is_waited_for_and_not_killed(sleeper: MarkedSleep) -> None:
    pid = _orphan(sleeper)
    claim = make_claim(key=Key(1, 1, 7))
    noted = {7: CommandSession(os.getsid(pid), 1 << 60)}
    killed = leftovers.kill_leftovers("none", [claim], noted)
    assert (killed.signalled, [process.pid for process in killed.left]) == (0, [pid])
    assert alive(pid)
    other = claim._replace(key=Key(1, 1, 8))
    assert leftovers.kill_leftovers("none", [other], noted) == Killed(0, [], unseen=False)


def test_a_session_that_was_recorded_is_killed_after_its_leader(leader: procfs.Process) -> None:
    claim = make_claim(key=Key(1, 1, 7))
    noted = {7: CommandSession(leader.pid, leader.started)}
    killed = leftovers.kill_leftovers("none", [claim], noted)
    assert killed.signalled >= 1
    assert killed.complete
