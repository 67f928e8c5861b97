"""Upgrades: from each version there was; interrupted, raced, refused; and a backup of the old."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from queued.core.errors import DatabaseUnusableError
from queued.core.model import Label, NewJob
from queued.core.records import JobFilter
from queued.store import instance_lock
from queued.store.sqlite import schema
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from queued.store.sqlite.maintenance import integrity_check
from tests.service import python_process, run_python
from tests.store.engine import NOW

ROOT = Path(__file__).resolve().parents[2]
DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.sql"))
MIGRATIONS = Path(schema.MIGRATIONS)
RELEASED = ["9344cc45534af976"]  # the beginning of the SHA-256 of each migration

# A table is built anew, as one must be whose columns change, while others refer to it.
NEXT = """
CREATE TABLE new_attempts AS SELECT * FROM attempts;
DROP TABLE attempts;
ALTER TABLE new_attempts RENAME TO attempts;
CREATE UNIQUE INDEX attempts_key ON attempts (job, number);
CREATE TABLE extra (a INTEGER) STRICT;
INSERT INTO extra SELECT seq FROM jobs;
"""
UPGRADE = """
import sys
from queued.core.errors import QueuedError
from queued.store.sqlite import schema
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
schema.MIGRATIONS = sys.argv[1]
print(flush=True)
sys.stdin.read()
store = SqliteStore(sys.argv[2], BusyHandler(30))
print(store.backup_path or "", len(list(store.output(5, 1, 1))))
store.close()
"""


@pytest.fixture
def following(tmp_path: Path) -> Path:
    """The migrations of a program that is one version newer."""
    newer = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, newer)
    (newer / f"{schema.latest() + 1:04}_next.sql").write_text(NEXT)
    return newer


@pytest.fixture
def newer(following: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We are that program."""
    monkeypatch.setattr(schema, "MIGRATIONS", str(following))
    return following


@pytest.fixture
def old(path: str) -> str:
    """A database of the newest schema that there is without the test."""
    return _load(DUMPS[-1], path)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def _load(dump: Path, path: str) -> str:
    """Makes a database of the schema of that number, with the rows of the dump."""
    number = int(dump.stem)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    for file in sorted(MIGRATIONS.glob("*.sql"))[:number]:
        connection.executescript(file.read_text("utf-8"))
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {number}")
    connection.executescript(dump.read_text("utf-8"))
    connection.close()
    os.chmod(path, 0o600)
    return path


def _dump(path: str) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()
        return [str(version), *connection.iterdump()]
    finally:
        connection.close()


def _dump_elsewhere(path: str) -> str:
    """In a process of its own: to close the file in this one would drop the locks of our stores."""
    code = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).iterdump())"
    return run_python("-c", code, path, check=True).stdout


def test_a_released_migration_never_changes_and_has_a_dump() -> None:
    files = sorted(MIGRATIONS.glob("*.sql"))
    assert [hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files] == RELEASED
    assert [int(dump.stem) for dump in DUMPS] == list(range(1, schema.latest() + 1))


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_a_database_of_each_version_is_as_good_as_new(dump: Path, path: str) -> None:
    _load(dump, path)
    store = SqliteStore(path, BusyHandler(5))
    labels = {job.id: job.label for job in store.list(JobFilter())}
    assert labels == {str(label): label for label in Label}
    assert [chunk.content for chunk in store.output(store.find("failed"), 1, 1)] == [b"no luck\n"]
    assert store.config() == {"workers": "8"}
    store.enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
    store.close()
    assert integrity_check.check(path, BusyHandler(5), full=True).problems == []


def test_a_backup_is_made_before_an_upgrade(old: str, newer: Path) -> None:
    before = _dump(old)
    version = schema.latest() - 1
    store = SqliteStore(old, BusyHandler(5))
    assert store.backup_path == f"{old}.schema{version}.bak"
    assert [chunk.content for chunk in store.output(5, 1, 1)] == [b"no luck\n"]
    store.close()
    assert _dump(store.backup_path) == before
    assert os.stat(store.backup_path).st_mode & 0o777 == 0o600
    again = SqliteStore(old, BusyHandler(5))
    assert again.backup_path is None
    again.close()
    assert _dump(old)[0] == f"({version + 1},)"


def test_no_backup_of_a_database_that_is_new(path: str, newer: Path) -> None:
    store = SqliteStore(path, BusyHandler(5))
    assert store.backup_path is None
    store.close()
    assert [name for name in os.listdir(Path(path).parent) if name.startswith("queue")] == [
        "queue.db"
    ]


def test_a_damaged_database_is_not_upgraded(old: str, newer: Path) -> None:
    connection = sqlite3.connect(old)
    connection.execute("DELETE FROM jobs")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'jobs_ready'")
    connection.commit()
    connection.close()
    before = Path(old).read_bytes()
    with pytest.raises(DatabaseUnusableError, match="damaged"):
        SqliteStore(old, BusyHandler(5))
    assert Path(old).read_bytes() == before


@pytest.mark.parametrize("point", ["backup", "row"])
def test_an_upgrade_that_fails_leaves_the_old(old: str, newer: Path, point: str) -> None:
    before = _dump(old)
    if point == "backup":
        os.mkdir(f"{old}.schema{schema.latest() - 1}.bak")
    else:
        file = next(newer.glob("*_next.sql"))
        file.write_text(f"{NEXT}\nDELETE FROM attempts;")
    with pytest.raises(Exception, match="directory|belong to nothing"):
        SqliteStore(old, BusyHandler(5))
    assert _dump(old) == before


def test_several_processes_upgrade_at_once(old: str, following: Path, stack: ExitStack) -> None:
    upgraders = [
        stack.enter_context(python_process(UPGRADE, str(following), old)) for _ in range(6)
    ]
    for upgrader in upgraders:
        assert upgrader.stdin
        upgrader.stdin.close()
        upgrader.stdin = None
    ended = [upgrader.communicate(timeout=60) for upgrader in upgraders]
    assert [err for _, err in ended] == [""] * 6
    kept = [out.split()[0] for out, _ in ended if len(out.split()) == 2]
    assert kept == [f"{old}.schema{schema.latest()}.bak"], "one process has upgraded it"
    assert {out.split()[-1] for out, _ in ended} == {"1"}


@pytest.mark.parametrize("statement", range(1, 40))
def test_an_upgrade_that_is_killed_is_as_if_it_had_not_begun(
    old: str, newer: Path, statement: int
) -> None:
    from tests.crash.test_statements import _dies

    before = _dump(old)
    survived = _dies(old, statement)
    found = _dump(old)
    assert found == before or found[0] == f"({schema.latest()},)"
    assert not survived or found != before
    store = SqliteStore(old, BusyHandler(5))
    assert len(list(store.list(JobFilter()))) == len(Label)
    store.close()
    assert _dump(old)[0] == f"({schema.latest()},)"


def test_no_upgrade_under_a_service_that_lives(old: str, newer: Path) -> None:
    before = _dump(old)
    held = instance_lock.create_locked(instance_lock.path_of(old, "1m8abcdefgh00"))
    with pytest.raises(DatabaseUnusableError, match=r"\(1m8abcdefgh00\); restart it with this"):
        SqliteStore(old, BusyHandler(5))
    assert _dump(old) == before
    os.close(held)
    SqliteStore(old, BusyHandler(5)).close()


def test_a_program_that_knows_only_the_old_schema_stops_at_once(
    old: str, following: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    store, ledger = SqliteStore(old, BusyHandler(5)), SqliteLedger(old, BusyHandler(5))
    stack.callback(store.close)
    stack.callback(ledger.close)
    assert store.version() == store.version()
    monkeypatch.setattr(schema, "MIGRATIONS", str(following))
    SqliteStore(old, BusyHandler(5)).close()
    after = _dump_elsewhere(old)
    told = rf"has schema {schema.latest()} now, and this program works with {len(DUMPS)}"
    with pytest.raises(DatabaseUnusableError, match=told), ledger.transaction():
        raise AssertionError
    for look in (store.version, lambda: store.config_set("workers", "1", now_ms=NOW)):
        for _ in range(2):
            with pytest.raises(DatabaseUnusableError, match=told):
                look()
    assert _dump_elsewhere(old) == after
