"""db backup: the files that it replaces, and those that it refuses to replace."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from queued.core.model import NewJob
from queued.store import instance_lock
from queued.store.sqlite.client_store import SqliteStore
from tests.cli.queuectl_runner import QueuectlRunner

pytestmark = pytest.mark.sqlite_only


def test_backup_replaces_a_file_only_with_force(queuectl: QueuectlRunner, backup: Path) -> None:
    queuectl.add("a")
    backup.write_text("precious")
    done = queuectl("db", "backup", str(backup))
    assert (done.code, backup.read_text()) == (4, "precious")
    queuectl.ok("db", "backup", "--force", str(backup))
    assert queuectl.ids("--db", str(backup)) == ["a"]
    for target in (queuectl.database, queuectl.directory / "queue.db-wal", queuectl.directory):
        assert queuectl.ledger.config() == {}
        assert queuectl("db", "backup", "--force", str(target)).code == 2
    assert queuectl("db", "backup", "/nowhere/x").code in {74, 77}
    assert queuectl.ids() == ["a"]


def test_a_backup_of_yesterday_is_replaced(queuectl: QueuectlRunner, backup: Path) -> None:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    queuectl.add("b")
    queuectl.ok("db", "backup", "--force", str(backup))
    assert queuectl.ids("--db", str(backup)) == ["a", "b"]


KINDS: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "link": lambda target: target.symlink_to("precious"),
    "dangling": lambda target: target.symlink_to("nowhere"),
    "directory": Path.mkdir,
}


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_a_file_is_replaced(
    queuectl: QueuectlRunner, backup: Path, kind: str, force: tuple[str, ...]
) -> None:
    queuectl.add("a")
    precious = backup.with_name("precious")
    precious.write_text("mine")
    KINDS[kind](backup)
    before = backup.lstat()
    told = f"queuectl: {backup} is not a regular file; choose another name\n"
    assert queuectl("db", "backup", *force, str(backup)) == (2, "", told)
    assert (backup.lstat().st_ino, backup.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir(backup.parent)) == ["copy.db", "precious"]
    assert stat.S_ISREG(precious.lstat().st_mode)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("use", ["a service", "a WAL"])
def test_the_database_of_another_queue_is_not_replaced(
    queuectl: QueuectlRunner, backup: Path, use: str
) -> None:
    queuectl.add("a")
    other = SqliteStore(str(backup))
    other.enqueue([NewJob("true", "theirs")], max_retries=3, now_ms=0)
    held = None
    if use == "a service":
        other.close()
        held = instance_lock.create_locked(instance_lock.path_of(str(backup), "1m8abcdefgh00"))
    before = backup.read_bytes()
    done = queuectl("db", "backup", "--force", str(backup))
    assert (done.code, done.out) == (75, "")
    assert done.err.startswith(f"queuectl: {backup} is a database in use, or has a {backup}-wal; ")
    assert backup.read_bytes() == before
    if held is not None:
        os.close(held)
    other.close()
    assert queuectl.ids("--db", str(backup)) == ["theirs"]
    queuectl.ok("db", "backup", "--force", str(backup))
    assert queuectl.ids("--db", str(backup)) == ["a"]


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal", ".1m8abcdefgh00.lock"])
def test_no_file_of_a_database_is_a_target(
    queuectl: QueuectlRunner, backup: Path, side: str
) -> None:
    """Whether it is there or not: SQLite, or a service, would take the backup for its own file."""
    queuectl.add("a")
    other = SqliteStore(str(backup))
    other.enqueue([NewJob("true", "theirs")], max_retries=3, now_ms=0)
    target = Path(f"{backup}{side}")
    for _ in range(2):
        before = target.read_bytes() if target.exists() else None
        done = queuectl("db", "backup", "--force", str(target))
        told = f"queuectl: {target} is the name of a file that belongs to {backup}; choose another"
        assert (done.code, done.out, done.err) == (2, "", f"{told} name\n")
        assert (target.read_bytes() if target.exists() else None) == before
        target.touch()
    other.close()
    assert queuectl.ids("--db", str(backup)) == ["theirs"]
    free = backup.with_name(f"free{side}")
    queuectl.ok("db", "backup", str(free))
