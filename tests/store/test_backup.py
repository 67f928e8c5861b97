"""A copy appears whole or not at all, and a restore is done or not begun, wherever it is killed."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from queued.core.errors import BusyError, ConflictError
from queued.core.model import NewJob
from queued.core.records import JobFilter
from queued.store import instance_lock
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.maintenance import backup, integrity_check, temporary_file
from tests.service import eventually
from tests.store.engine import NOW

PATIENT = BusyHandler(5)
ENQUEUER = """
import itertools, sys
from queued.core.model import NewJob
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
store = SqliteStore(sys.argv[1], BusyHandler(60))
for n in itertools.count():
    store.enqueue([NewJob("true", f"{sys.argv[2]}{n}")], max_retries=3, now_ms=1)
    print(f"{sys.argv[2]}{n}", flush=True)
"""


@pytest.fixture
def copy(path: str) -> str:
    """A backup with the job `a`, of a database that has `b` as well now."""
    made = str(Path(path).with_name("copy.db"))
    _add(path, "a")
    backup.backup(path, made, PATIENT)
    _add(path, "b")
    return made


def _add(path: str, *names: str) -> None:
    store = SqliteStore(path, PATIENT)
    store.enqueue([NewJob("true", name) for name in names], max_retries=3, now_ms=NOW)
    store.close()


def _names(path: str) -> list[str]:
    store = SqliteStore(path, PATIENT)
    names = [job.id for job in store.list(JobFilter())]
    store.close()
    return names


def _temporary(path: str) -> list[str]:
    return [str(file) for file in Path(path).parent.glob(".*.new")]


def _killed_in(patched: pytest.MonkeyPatch, name: str, call: int, work: Callable[[], Any]) -> None:
    """Does the work in a process that is killed at the n-th call of a function of `backup`."""
    pid = os.fork()
    if pid == 0:
        plain, calls = getattr(backup, name), 0

        def doomed(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments, **named)

        try:
            patched.setattr(backup, name, doomed)
            work()
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL, "the function was called"


@pytest.mark.parametrize("name", ["_fill", "_copy", "must_be_good", "_sync_directory"])
def test_a_killed_backup_leaves_no_partial_file(
    path: str, copy: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed_in(monkeypatch, name, 1, lambda: backup.backup(path, copy, PATIENT, replace=True))
    assert _names(copy) in (["a"], ["a", "b"])
    assert (_temporary(path) == []) is (name == "_sync_directory"), "the file has been renamed then"
    backup.backup(path, copy, PATIENT, replace=True)
    assert _names(copy) == ["a", "b"] == _names(path)
    assert _temporary(path) == []


def test_the_temporary_file_of_a_living_process_stays(path: str, copy: str) -> None:
    with temporary_file.created(os.path.dirname(path)) as other:
        backup.backup(path, copy, PATIENT, replace=True)
        assert _temporary(path) == [other]
    assert _temporary(path) == []


def test_a_temporary_file_that_is_deleted_before_it_is_locked_is_created_again(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, deleted = fcntl.flock, list[str]()

    def late(descriptor: int, operation: int) -> None:
        if not deleted:
            deleted.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.unlink(deleted[0])
        plain(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with temporary_file.created(os.path.dirname(path)) as made:
        assert [made] == _temporary(path)
        assert made not in deleted


def test_only_dead_temporary_files_are_deleted(path: str, copy: str) -> None:
    directory = Path(path).parent
    name = ".queued-0123456789abcdef.new"
    (directory / name).touch()
    (directory / f"{name}-journal").touch()
    (directory / ".queued-fedcba9876543210.new").symlink_to(copy)
    for kept in (".queued-0.new", f"x{name}", f"{name}.new"):
        (directory / kept).touch()
    os.mkfifo(directory / ".queued-0000000000000000.new")
    before = set(os.listdir(directory))
    backup.backup(path, copy, PATIENT, replace=True)
    assert before - set(os.listdir(directory)) == {name, f"{name}-journal"}


@pytest.mark.parametrize(
    ("name", "call"), [("_fill", 1), ("_keep", 1), ("_sync_directory", 1), ("_sync_directory", 2)]
)
def test_a_killed_restore_over_an_unreadable_database_can_be_repeated(
    path: str, copy: str, name: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is always a database of that name, and the old one is never gone."""
    Path(path).write_bytes(b"notes")
    kept = f"{path}.old"
    _killed_in(monkeypatch, name, call, lambda: backup.restore(path, copy, kept, PATIENT))
    done = name == "_sync_directory" and call == 2
    assert (Path(path).read_bytes() == b"notes") is not done
    assert not done or Path(kept).read_bytes() == b"notes"
    assert backup.restore(path, copy, f"{kept}er" if done else kept, PATIENT)
    assert (_names(path), Path(kept).read_bytes()) == (["a"], b"notes")


def test_a_new_database_does_not_read_the_wal_of_a_removed_one(path: str, copy: str) -> None:
    store = SqliteStore(path, PATIENT)
    store.enqueue([NewJob("true", "c")], max_retries=3, now_ms=NOW)
    wal = Path(f"{path}-wal").read_bytes()
    store.close()
    Path(path).unlink()
    Path(f"{path}-wal").write_bytes(wal)
    Path(f"{path}-wal").chmod(0o600)
    assert backup.restore(path, copy, f"{path}.old", PATIENT)
    assert _names(path) == ["a"]
    assert Path(f"{path}.old-wal").read_bytes() == wal


@pytest.mark.parametrize("work", ["backup", "restore"])
def test_a_file_made_during_a_backup_is_not_replaced(
    path: str, copy: str, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(Path(path).with_name("target.db"))
    plain = backup._fill

    def slow(new: str, *arguments: Any, **named: Any) -> None:
        plain(new, *arguments, **named)
        _add(target, "mine")

    monkeypatch.setattr(backup, "_fill", slow)
    with pytest.raises((ConflictError, BusyError), match=target):
        if work == "backup":
            backup.backup(path, target, PATIENT)
        else:
            backup.restore(target, copy, f"{target}.old", PATIENT)
    assert _names(target) == ["mine"]
    assert _temporary(path) == []


def test_a_service_that_starts_meanwhile_stops_a_restore(
    path: str, copy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = backup.must_be_idle, 0

    def starting(database: str) -> None:
        nonlocal calls
        calls += 1
        held = (
            instance_lock.create_locked(instance_lock.path_of(path, "1m8abcdefgh00"))
            if calls == 2
            else None
        )
        try:
            plain(database)
        finally:
            if held is not None:
                os.close(held)

    monkeypatch.setattr(backup, "must_be_idle", starting)
    with pytest.raises(BusyError, match="1m8abcdefgh00"):
        backup.restore(path, copy, f"{path}.old", PATIENT)
    assert _names(path) == ["a", "b"]


def test_no_acknowledged_job_is_lost_beside_restores(path: str, copy: str, tmp_path: Path) -> None:
    """Each is in the database, or in the backup of a database that was overwritten."""
    logs = [tmp_path / "x", tmp_path / "y"]
    enqueuers = []
    for log in logs:
        with log.open("wb") as out:
            words = [sys.executable, "-c", ENQUEUER, path, log.name]
            enqueuers.append(subprocess.Popen(words, stdout=out))
    eventually(lambda: all(log.read_text() for log in logs))
    kept = [f"{path}.{n}" for n in range(20)]
    for old in kept:
        backup.restore(path, copy, old, PATIENT)
    for enqueuer in enqueuers:
        assert enqueuer.poll() is None, "the enqueuer still runs"
        enqueuer.kill()
        enqueuer.wait()
    acknowledged = {name for log in logs for name in log.read_text().split("\n")[:-1]}
    assert acknowledged <= {name for file in (path, *kept) for name in _names(file)}


def test_a_backup_that_is_not_in_wal_mode_is_restored_where_nothing_is(
    copy: str, tmp_path: Path
) -> None:
    connection = apsw.Connection(copy)
    assert connection.execute("PRAGMA journal_mode = DELETE").get == "delete"
    connection.close()
    new = f"{tmp_path}/new.db"
    assert not backup.restore(new, copy, f"{new}.old", PATIENT)
    assert integrity_check.check(new, PATIENT, full=True).problems == []
    assert _names(new) == ["a"]


def test_a_database_that_is_not_in_wal_mode_is_restored(path: str, copy: str) -> None:
    connection = apsw.Connection(path)
    assert connection.execute("PRAGMA journal_mode = DELETE").get == "delete"
    connection.close()
    assert backup.restore(path, copy, f"{path}.old", PATIENT)
    assert (_names(path), _names(f"{path}.old")) == (["a"], ["a", "b"])
