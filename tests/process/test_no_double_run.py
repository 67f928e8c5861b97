"""Each job runs once, with any number of enqueuers and services."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from queued.store import instance_lock
from tests.service import Queue, cleaned_up, eventually


def test_two_instances_and_twenty_enqueuers_at_once(queue: Queue) -> None:
    """1,000 jobs by 20 processes, singly and in batches, while two services run them."""
    lines = queue.file("lines")
    services = [queue.serve(workers=3), queue.serve(workers=3)]
    enqueuers = [
        subprocess.Popen(
            [sys.executable, "-m", "queued.ctl", "--db", queue.path, "enqueue", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(20)
    ]
    for number, process in enumerate(enqueuers):
        assert process.stdin is not None
        for n in range(50):
            job = {"id": f"j{number}-{n}", "command": f"echo {number}-{n} >> {lines}"}
            process.stdin.write(json.dumps(job) + "\n")
        process.stdin.close()
    for process in enqueuers:
        assert process.stdout is not None
        assert process.stderr is not None
        with process, process.stdout, process.stderr:
            assert len(process.stdout.read().split()) == 50, process.stderr.read()
        assert process.returncode == 0
    queue.wait_all(1000, within_s=100)
    ran = Counter(lines.read_text().split())
    assert len(ran) == 1000
    assert set(ran.values()) == {1}
    assert {job.runs for job in queue.jobs()} == {1}
    by_instance = Counter(queue.attempts(job.id)[0].instance for job in queue.jobs())
    assert set(by_instance) == {service.instance for service in services}


@pytest.mark.sqlite_only
def test_a_copied_directory_is_no_proof_that_the_service_is_dead(
    queue: Queue, tmp_path: Path
) -> None:
    """The lock file is copied, too, and nothing locks the copy."""
    lines = queue.file("lines")
    service = queue.serve(workers=1)
    name = queue.add(f"echo begun >> {lines}; sleep 60")
    queue.wait(name, "processing")
    eventually(lines.exists)
    shutil.copytree(os.path.dirname(queue.path), tmp_path / "copy")
    path = tmp_path / "copy" / os.path.basename(queue.path)
    with cleaned_up(Queue(tmp_path / "copy", str(path))) as copy:
        other = copy.serve(workers=1)
        eventually(lambda: other.logged("instance.not_rescued", dead=service.instance))
        copy.wait(copy.add("true"))
        assert queue.job(name).label == copy.job(name).label == "processing"
        assert lines.read_text() == "begun\n"
        queue.queuectl("cancel", name)
        queue.wait(name, "cancelled")
        assert service.stop() == 0
        eventually(lambda: lines.read_text() == "begun\nbegun\n", "rescued", within_s=20)


@pytest.mark.sqlite_only
def test_a_restored_backup_starts_no_job_that_a_killed_service_left_running(
    queue: Queue, tmp_path: Path
) -> None:
    """The backup was made before the service, so it has neither the row nor the claim of it."""
    begun, backup = queue.file("begun"), str(tmp_path / "backup.db")
    name = queue.add(f"[ -e {begun} ] || (touch {begun}; kill -STOP $$)")
    queue.queuectl("db", "backup", backup)
    dead = queue.serve(workers=1)
    eventually(begun.exists)
    dead.kill_instance()
    queue.queuectl("db", "restore", backup)
    service = queue.serve(workers=1)
    assert queue.wait(name).label == "completed"
    assert service.logged("instance.rescued", dead=dead.instance)[0]["processes_killed"] > 0
    assert not os.path.exists(instance_lock.path_of(queue.path, dead.instance))


def test_a_rescue_without_a_lock_file_kills_what_is_left(queue: Queue) -> None:
    """The command is stopped, so that it would never end by itself."""
    dead = queue.serve(workers=1)
    begun = queue.file("begun")
    name = queue.add_once(f"(touch {begun}; kill -STOP $$)")
    eventually(begun.exists)
    dead.kill_instance()
    os.unlink(instance_lock.path_of(queue.engine.instance_files, dead.instance))
    service = queue.serve(workers=1)
    assert queue.wait(name).label == "completed"
    assert service.logged("instance.rescued", dead=dead.instance)[0]["processes_killed"] > 0
