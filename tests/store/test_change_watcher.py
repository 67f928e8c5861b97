"""Events of the database's files."""

import os
import select
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from queued.core.errors import DatabaseUnusableError
from queued.store import instance_lock
from queued.store.change_watcher import ChangeWatcher
from queued.store.sqlite.client_store import SqliteStore
from tests.store.engine import NOW


@pytest.fixture
def changes(path: str) -> Iterator[ChangeWatcher]:
    """Watches a database that exists."""
    SqliteStore(path).close()
    with closing(ChangeWatcher(path)) as made:
        yield made


def _readable(changes: ChangeWatcher) -> bool:
    return bool(select.select([changes.fileno()], [], [], 0)[0])


def test_a_commit_is_seen_and_reading_is_not(path: str) -> None:
    store = SqliteStore(path)
    changes = ChangeWatcher(path)
    store.config()
    assert not _readable(changes)
    assert changes.read() == (False, False)
    store.config_set("workers", "4", now_ms=NOW)
    assert _readable(changes)
    assert changes.read() == (True, False)
    assert changes.read() == (False, False)
    changes.close()
    store.close()


def test_other_files_of_the_directory_do_not_count(changes: ChangeWatcher, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("x")
    (tmp_path / "other.db.i.lock").write_text("x")
    assert changes.read() == (False, False)


def test_the_end_of_an_instance_is_seen(changes: ChangeWatcher, path: str) -> None:
    descriptor = instance_lock.create_locked(instance_lock.path_of(path, "i"))
    assert changes.read() == (False, False)
    os.close(descriptor)
    assert changes.read() == (False, True)


def test_a_reader_of_the_database_and_of_a_lock_causes_no_event(path: str) -> None:
    SqliteStore(path).close()
    lock = instance_lock.path_of(path, "i")
    descriptor = instance_lock.create_locked(lock)
    kept_open = SqliteStore(path)
    changes = ChangeWatcher(path)
    store = SqliteStore(path)
    store.config()
    store.close()
    assert instance_lock.is_alive(path, "i")
    assert not _readable(changes)
    os.close(descriptor)
    assert changes.read() == (False, True)
    changes.close()
    kept_open.close()


def test_one_read_takes_a_bounded_number_of_events(changes: ChangeWatcher, tmp_path: Path) -> None:
    """Endless writes to other files in the directory do not keep a dispatcher from its work."""
    with (tmp_path / "one").open("wb", 0) as one, (tmp_path / "other").open("wb", 0) as other:
        for _ in range(2000):
            one.write(b"x")  # by turns: the kernel merges what is the same
            other.write(b"x")
        assert changes.read() == (False, False)
        assert _readable(changes), "the rest is not lost"
        assert changes.read() == (False, False)
        assert not _readable(changes)


@pytest.mark.parametrize("side", ["", "-wal", "-shm"])
def test_a_file_that_is_removed_or_replaced_is_seen(path: str, tmp_path: Path, side: str) -> None:
    store = SqliteStore(path)
    (tmp_path / "other").touch()
    (tmp_path / "another").touch()
    changes = ChangeWatcher(path)
    os.replace(tmp_path / "other", f"{path}{side}")
    assert changes.read().database
    os.rename(f"{path}{side}", tmp_path / "kept")
    assert changes.read().database
    os.rename(tmp_path / "another", f"{path}{side}")
    assert changes.read().database
    os.unlink(f"{path}{side}")
    assert changes.read().database
    changes.close()
    with suppress(DatabaseUnusableError):
        store.version()
    store.close()


def test_a_lock_file_that_is_removed_is_seen(path: str) -> None:
    SqliteStore(path).close()
    lock = instance_lock.path_of(path, "i")
    descriptor = instance_lock.create_locked(lock)
    changes = ChangeWatcher(path)
    os.unlink(lock)
    assert changes.read().locks
    os.close(descriptor)
    changes.close()
