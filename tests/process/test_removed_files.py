"""The database, its side files, a lock file or a row is removed under a running service."""

import os
import signal
import sqlite3

import pytest

from queued.store import instance_lock
from tests.process.foreign_sql import sql
from tests.process.marked_sleep import MarkedSleep
from tests.service import WATCHED, Queue, Service, eventually

pytestmark = pytest.mark.sqlite_only


def _lock_file(queue: Queue, service: Service) -> str:
    return instance_lock.path_of(queue.path, service.instance)


@pytest.mark.parametrize("removed", ["lock file", "row"])
def test_a_service_without_its_lock_file_or_row_ends_and_its_claims_are_rescued(
    queue: Queue, sleeper: MarkedSleep, removed: str
) -> None:
    service = queue.serve()
    name = queue.add(f"sleep {sleeper}", kill_grace=1, backoff_max=0)
    queue.wait(name, "processing")
    if removed == "row":
        sql(queue, "DELETE FROM instances")
    else:
        os.unlink(_lock_file(queue, service))
    assert service.ended() == 74
    (line,) = service.logged("service.failed")
    told = {"row": "the row of this service was removed", "lock file": "was removed or replaced"}
    assert told[removed] in str(line)
    assert not service.descendants()
    queue.serve()
    eventually(lambda: len(queue.attempts(name)) == 2)


def test_a_stopped_service_without_its_lock_file_is_alive(
    queue: Queue, sleeper: MarkedSleep
) -> None:
    service = queue.serve()
    name = queue.add(f"exec sleep {sleeper}")
    running = eventually(sleeper.living)
    copy = str(queue.file("copy.db"))
    assert queue.queuectl("db", "backup", copy).returncode == 0
    service.pause()
    os.unlink(_lock_file(queue, service))
    assert queue.queuectl("db", "restore", copy).returncode == 75
    other = queue.serve()
    queue.wait(queue.add("true"))
    assert other.stop() == 0
    assert sleeper.living() == running
    assert len(queue.attempts(name)) == 1
    for process in service.own():
        os.kill(process.pid, signal.SIGCONT)
    assert service.ended() == 74


def test_a_dispatcher_that_starts_without_the_database_makes_no_new_one(queue: Queue) -> None:
    """A new database would delete the WAL of the moved one, which holds its commits."""
    service = queue.serve(env=WATCHED)
    queue.wait(queue.add("true"))
    dispatcher = service.child(0)
    service.kill(dispatcher, signal.SIGSTOP)
    os.rename(queue.path, f"{queue.path}.moved")
    service.kill(dispatcher)
    assert service.ended() == 78
    (line,) = service.logged("service.failed")
    assert f"{queue.path} was removed or replaced" in str(line)
    refused = queue.queuectl("enqueue", "--", "true")
    assert refused.returncode == 78
    assert "is missing, but not its -wal" in refused.stderr
    os.rename(f"{queue.path}.moved", queue.path)
    rows = sqlite3.connect(queue.path).execute("SELECT state FROM jobs").fetchall()
    assert rows == [("completed",)]


@pytest.mark.parametrize("side", ["", "-wal", "-shm"])
def test_a_service_whose_database_is_removed_ends(queue: Queue, side: str) -> None:
    service = queue.serve()
    queue.wait(queue.add("true"))
    moved = f"{queue.path}{side}"
    os.rename(moved, f"{moved}.moved")
    assert service.ended() == 78
    (line,) = service.logged("service.failed")
    assert f"{moved} was removed or replaced" in str(line)
    os.rename(f"{moved}.moved", moved)
    rows = sqlite3.connect(queue.path).execute("SELECT state FROM jobs").fetchall()
    assert rows == [("completed",)]
