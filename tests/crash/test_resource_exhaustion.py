"""The system says no, to real processes: no room, no process, no descriptor."""

import contextlib
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from queued.store import instance_lock
from tests.crash.kill_scenario import KillScenario
from tests.service import Queue, Service, altered, eventually, run_python

FULL = "database.refused"


def _refused(service: Service) -> int:
    return len(service.logged(FULL))


def test_a_full_disk_is_waited_for(scenario: KillScenario) -> None:
    """The disk is full while a file exists, for root, too."""
    control = scenario.queue.directory.parent / "full"
    service = scenario.serve(*altered(f"full={control}")).ready()
    scenario.add("job", "echo begun; sleep 0.3; echo over", prints=b"begun\nover\n")
    eventually(lambda: scenario.started("job"))
    control.touch()
    eventually(lambda: "end" in (scenario.traces / "job.trace").read_text())
    eventually(lambda: _refused(service))
    program = altered(f"full={control}", program="queuectl")
    again = run_python(*program, "--db", scenario.queue.path, "enqueue", "--", "true")
    assert (again.returncode, again.stdout) == (74, "")
    assert again.stderr.count("\n") == 1
    assert "no room on the disk" in again.stderr
    assert scenario.queue.job("job").label == "processing"
    control.unlink()
    assert scenario.broken_promises() == []
    assert scenario.queue.job("job").runs == 1
    assert _refused(service) == 1, "the refusal is logged once"
    assert service.logged("database.recovered")


def test_a_bad_disk_loses_nothing(scenario: KillScenario) -> None:
    """Each fiftieth write or sync of the WAL fails, in every dispatcher that there is."""
    service = scenario.serve(*altered("sometimes=20"), workers=3)
    for n in range(60):
        scenario.add(
            f"j{n}", f"seq 5; exit $(( {n} % 4 == QUEUED_ATTEMPT ))", prints=b"1\n2\n3\n4\n5\n"
        )
    assert scenario.broken_promises(within_s=60) == []
    assert _refused(service)
    assert [job.runs for job in scenario.queue.jobs()] == [
        2 if n % 4 == 1 else 1 for n in range(60)
    ]


@pytest.fixture(params=["root"] if os.geteuid() == 0 else [])
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB, which only root can mount."""
    mounted = tmp_path / "small"
    mounted.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=1m,mode=0700"]
    subprocess.run(["mount", *options, "queued-test", mounted], check=True)
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def _fill(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_a_file_system_that_fills_up(tmp_path: Path, small_disk: Path) -> None:
    queue = Queue(tmp_path, str(small_disk / "queue.db"))
    try:
        service = queue.serve()
        name = queue.add("seq 20000; sleep 0.5; seq 20000")
        eventually(lambda: queue.attempts(name))
        filler = _fill(small_disk)
        eventually(lambda: _refused(service))
        refused = queue.queuectl("enqueue", "--", "true")
        assert (refused.returncode, refused.stdout) == (74, "")
        assert refused.stderr.count("\n") == 1
        assert queue.queuectl("list").returncode == 0, "the database can still be read"
        filler.unlink()
        assert queue.wait(name).runs == 1
        assert len(queue.output(name)) == 2 * len("".join(f"{n}\n" for n in range(1, 20001)))
        assert _refused(service) == 1
        assert queue.wait(queue.add("true")).label == "completed"
        assert service.stop() == 0
    finally:
        queue.close()


def test_a_start_on_a_full_file_system(tmp_path: Path, small_disk: Path) -> None:
    """SQLite has no room for its shared memory: one line says so, and later all is well."""
    with contextlib.closing(Queue(tmp_path, str(small_disk / "queue.db"))) as queue:
        name = queue.add("true")
    filler = _fill(small_disk)
    service = queue.spawn()
    assert service.ended() == 74
    assert service.log_path.read_text().count("\n") == 1
    assert "no room on the disk" in service.log_path.read_text()
    assert "no room on the disk" in queue.queuectl("cancel", name).stderr
    assert queue.queuectl("list", "--quiet").stdout == f"{name}\n"
    service.clean_up()
    filler.unlink()
    with contextlib.closing(Queue(tmp_path, queue.path)) as again:
        again.serve()
        assert again.wait(name).label == "completed"


@pytest.mark.parametrize("command", ["backup", "vacuum", "restore"])
def test_no_room_for_a_copy(tmp_path: Path, small_disk: Path, command: str) -> None:
    """The database is as it was, and nothing half done is left beside it."""
    queue = Queue(tmp_path, str(small_disk / "queue.db"))
    queue.add_all([f"true {'x' * 900}"] * 300)
    copy = tmp_path / "copy.db"
    assert queue.queuectl("db", "backup", str(copy)).returncode == 0
    queue.add("true", id="later")
    filler = _fill(small_disk)
    words = {"backup": [str(small_disk / "new.db")], "restore": [str(copy)]}.get(command, [])
    refused = queue.queuectl("db", command, *words)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (74, "", 1)
    assert "no room" in refused.stderr
    filler.unlink()
    assert queue.queuectl("db", "check", "--full").returncode == 0
    assert len(queue.jobs()) == 301
    sides = {f"queue.db{side}" for side in ("", "-wal", "-shm")}
    assert {file.name for file in small_disk.iterdir()} <= sides
    queue.close()


def test_a_file_system_that_can_only_be_read(tmp_path: Path, small_disk: Path) -> None:
    queue = Queue(tmp_path, str(small_disk / "queue.db"))
    queue.add("true", id="there")
    queue.store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    reason = "its file system is read-only; see the kernel's log, and remount it"
    told = f"cannot write {queue.path}: {reason}\n"
    refused = queue.queuectl("enqueue", "--", "true")
    assert (refused.returncode, refused.stdout) == (74, "")
    assert refused.stderr == f"queuectl: {told}"
    assert queue.queuectl("cancel", "there").stderr == f"queuectl: {told}"
    assert json.loads(queue.queuectl("show", "--json", "there").stdout)["state"] == "pending"
    service = queue.spawn()
    assert service.ended() == 74
    assert service.log_path.read_text() == f"queued: {told}"
    service.clean_up()
    new = run_python("-m", "queued", "--check", "--db", small_disk / "new.db")
    assert new.returncode == 74
    assert new.stderr == f"queued: {told.replace('/queue.db', '')}"


# A shortage that no process of the service can end by itself.
LIMITS_UNCHECKED = "constant=queued.service.linux.limits._KINDS="


def test_no_process_to_start_a_command_with(scenario: KillScenario) -> None:
    service = scenario.serve(*altered("no_process=3"), workers=1)
    scenario.add("job", "true")
    assert scenario.broken_promises() == []
    assert len(service.logged("job.start_refused")) == 1
    (run,) = scenario.queue.attempts("job")
    assert run.outcome == "exit"


def test_no_memory_to_fork_with(scenario: KillScenario) -> None:
    service = scenario.serve(*altered("no_fork=4"), workers=2).ready()
    scenario.add("job", "true")
    assert scenario.broken_promises() == []
    assert len(service.logged("child.not_started")) == 4


def test_a_worker_that_can_start_nothing_is_replaced(scenario: KillScenario) -> None:
    """Its own limits may be the reason."""
    soon = altered("constant=queued.service.worker.worker._REFUSED_S=0.5", LIMITS_UNCHECKED)
    service = scenario.serve(*soon, workers=1).ready()
    worker = service.child(1)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (_highest_descriptor(worker) + 1,) * 2)
    scenario.add("job", "true")
    assert scenario.broken_promises() == []
    assert service.child(1) != worker
    assert service.logged("child.exited", child_pid=worker)
    assert scenario.queue.job("job").runs == 1


def _highest_descriptor(pid: int) -> int:
    """Returns the highest open descriptor below that of the lock that runs inherit."""
    opened = map(int, os.listdir(f"/proc/{pid}/fd"))
    return max(descriptor for descriptor in opened if descriptor < instance_lock._HIGH)


def test_no_descriptor_to_start_a_command_with(scenario: KillScenario) -> None:
    """The limit of a real worker is lowered to what it has open, and raised again."""
    service = scenario.serve(*altered(LIMITS_UNCHECKED), workers=1).ready()
    worker = service.child(1)
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    opened = _highest_descriptor(worker)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (opened + 1, limits[1]))
    scenario.add("job", "true")
    eventually(lambda: service.logged("job.start_refused"))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
    assert scenario.broken_promises() == []
    assert scenario.queue.job("job").runs == 1


def test_a_worker_death_while_no_process_can_start_costs_no_attempt(
    scenario: KillScenario,
) -> None:
    service = scenario.serve(*altered("no_process=1000"), workers=1)
    scenario.add("job", "true", max_retries=1)
    eventually(lambda: service.logged("job.start_refused"))
    service.kill_instance()
    scenario.serve()
    assert scenario.broken_promises() == []
    assert [run.outcome for run in scenario.queue.attempts("job")] == ["interrupted", "exit"]


def test_no_descriptor_is_left_for_another_worker(scenario: KillScenario) -> None:
    """With real limits, the workers that exist go on, and the others start once there is room."""
    service = scenario.serve(*altered(LIMITS_UNCHECKED), workers=2).ready()
    used = _highest_descriptor(service.pid)
    limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    for _ in range(2):
        os.kill(service.pid, signal.SIGTTIN)
        eventually(lambda: service.logged("child.not_started"))
    scenario.add("meanwhile", "true")
    eventually(lambda: scenario.queue.job("meanwhile").label == "completed")
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, limits)
    eventually(lambda: len(scenario.queue.store.workers()) == 4)
    scenario.add("then", "true")
    assert scenario.broken_promises() == []


def test_a_cancel_is_applied_though_the_first_turn_that_read_it_failed(
    scenario: KillScenario,
) -> None:
    service = scenario.serve(*altered("refused_cancel"), workers=1)
    scenario.add("job", "sleep 60")
    eventually(lambda: scenario.started("job"))
    scenario.queue.queuectl("cancel", "job")
    assert scenario.broken_promises() == []
    assert scenario.queue.job("job").label == "cancelled"
    assert _refused(service) == 1
