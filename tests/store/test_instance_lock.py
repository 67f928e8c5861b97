"""Liveness as a kernel lock."""

import os
import signal
import stat
from pathlib import Path

import pytest

from queued.core import ids
from queued.core.errors import StorageError, WaitTimeoutError
from queued.store import instance_lock
from tests.service import python_process

HOLDER = """
import os, sys
from queued.store import instance_lock
instance_lock.create_locked(sys.argv[1])
print(flush=True)
sys.stdin.read()
"""
WAITER = """
import sys
from queued.store import instance_lock
print(flush=True)
instance_lock.wait_until_dead(sys.argv[1], "i", 60)
"""


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The path of a database; instance `i` is the one of these tests."""
    return str(tmp_path / "queue.db")


@pytest.fixture
def held(database: str) -> str:
    """Where the lock file of `i` may be made."""
    return instance_lock.path_of(database, "i")


def test_an_instance_lives_while_its_lock_is_held(database: str, held: str) -> None:
    assert not instance_lock.is_alive(database, "i")
    descriptor = instance_lock.create_locked(held)
    assert instance_lock.is_alive(database, "i")
    assert stat.S_IMODE(os.stat(held).st_mode) == 0o600
    os.close(descriptor)
    assert not instance_lock.is_alive(database, "i")


def test_an_instance_lives_until_the_last_process_with_its_lock_has_ended(
    database: str, held: str
) -> None:
    descriptor = instance_lock.create_locked(held)
    heir = os.dup(descriptor)
    os.close(descriptor)
    assert instance_lock.is_alive(database, "i")
    os.close(heir)
    assert not instance_lock.is_alive(database, "i")


def test_commands_do_not_inherit_the_lock(held: str) -> None:
    descriptor = instance_lock.create_locked(held)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_the_look_of_another_process_does_not_make_an_instance_alive(
    database: str, held: str
) -> None:
    os.close(instance_lock.create_locked(held))
    look = instance_lock.open_lock(database, "i")
    assert look is not None
    assert instance_lock.try_lock(look, shared=True)
    assert not instance_lock.is_alive(database, "i")
    os.close(look)


def test_the_lock_of_runs_is_seen_until_it_is_closed(database: str, held: str) -> None:
    descriptor = instance_lock.create_locked(held)
    look = instance_lock.open_lock(database, "i")
    assert look is not None
    assert not instance_lock.runs_alive(look)
    runs = instance_lock.hold_for_runs(descriptor)
    assert runs > 100, "a number that no command uses"
    assert not os.get_inheritable(runs), "only the start of a command makes it inheritable"
    assert instance_lock.runs_alive(look)
    os.close(runs)
    assert not instance_lock.runs_alive(look)
    os.close(look)
    os.close(descriptor)


def test_a_lock_file_is_held_by_one_instance(held: str) -> None:
    descriptor = instance_lock.create_locked(held)
    with pytest.raises(StorageError, match="cannot create"):
        instance_lock.create_locked(held)
    os.close(descriptor)


def test_only_one_instance_locks_a_dead_one(database: str, held: str) -> None:
    os.close(instance_lock.create_locked(held))
    first, second = instance_lock.open_lock(database, "i"), instance_lock.open_lock(database, "i")
    assert first is not None
    assert second is not None
    assert instance_lock.try_lock(first)
    assert not instance_lock.try_lock(second)
    os.close(first)
    assert instance_lock.try_lock(second)
    os.close(second)


def test_waiting_ends_with_the_holder(database: str, held: str) -> None:
    with python_process(HOLDER, held) as holder, python_process(WAITER, database) as waiter:
        holder.kill()
        assert waiter.wait(20) == 0


def test_a_removed_lock_file_is_not_waited_for_and_can_be_removed_again(
    database: str, held: str
) -> None:
    os.close(instance_lock.create_locked(held))
    instance_lock.remove(held)
    instance_lock.remove(held)
    assert instance_lock.open_lock(database, "i") is None
    instance_lock.wait_until_dead(database, "i", None)


def test_the_lock_of_another_database_is_not_ours(tmp_path: Path) -> None:
    (name,) = ids.make(1)
    path = instance_lock.path_of(str(tmp_path / "queue.db"), name)
    descriptor = instance_lock.create_locked(path)
    assert instance_lock.living(str(tmp_path / "queue.db")) == [name]
    assert instance_lock.living(str(tmp_path / "queue")) == []
    os.close(descriptor)


def test_waiting_ends_at_its_limit_though_signals_are_blocked(database: str, held: str) -> None:
    descriptor = instance_lock.create_locked(held)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        for limit_s in (0.05, 0):
            with pytest.raises(WaitTimeoutError):
                instance_lock.wait_until_dead(database, "i", limit_s)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(descriptor)


@pytest.mark.parametrize("replaced", [False, True])
def test_deleting_the_lock_file_does_not_make_an_instance_dead(
    database: str, held: str, *, replaced: bool
) -> None:
    with python_process(HOLDER, held):
        os.unlink(held)
        if replaced:
            Path(held).touch()
        assert instance_lock.is_alive(database, "i")
        assert instance_lock.living(database) == ["i"]
    assert not instance_lock.is_alive(database, "i")
    assert instance_lock.living(database) == []


def test_an_open_deleted_lock_file_does_not_make_an_instance_alive(
    database: str, held: str
) -> None:
    os.close(instance_lock.create_locked(held))
    descriptor = instance_lock.open_lock(database, "i")
    assert descriptor is not None
    assert instance_lock.try_lock(descriptor, shared=True)  # as `wait_until_dead` does
    os.unlink(held)
    assert not instance_lock.is_alive(database, "i")
    os.close(descriptor)


def test_a_lock_file_is_in_place_until_it_is_deleted_or_replaced(held: str) -> None:
    descriptor = instance_lock.create_locked(held)
    assert instance_lock.is_in_place(held, descriptor)
    os.unlink(held)
    assert not instance_lock.is_in_place(held, descriptor)
    Path(held).touch()
    assert not instance_lock.is_in_place(held, descriptor)
    os.close(descriptor)


def test_only_a_regular_file_is_opened_as_a_lock(
    database: str, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: str, *_: object) -> int:
        raise AssertionError(path)

    for make in (os.mkfifo, lambda path: os.symlink("/dev/null", path)):
        make(held)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", opened)
            assert instance_lock.open_lock(database, "i") is None
            assert not instance_lock.is_alive(database, "i")
        os.unlink(held)


@pytest.mark.parametrize("name", ["", "../i", "a/b", "I", "i\n", "\u00e9"])
def test_a_lock_file_has_the_name_of_an_id(database: str, name: str) -> None:
    with pytest.raises(ValueError, match="is not the id"):
        instance_lock.path_of(database, name)
    assert instance_lock.open_lock(database, name) is None
    assert instance_lock.database_of(f"{database}.{name}.lock") is None
    assert instance_lock.database_of(instance_lock.path_of(database, "i")) == database
