"""Liveness as a kernel lock."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from queued.core.errors import StorageError, WaitTimeoutError
from queued.core.ids import IdSource
from queued.store import instance_lock
from queued.store.sqlite.maintenance import open_existing

HOLDER = (
    "import os, sys; from queued.store import instance_lock; instance_lock.hold(sys.argv[1]);"
    "print(flush=True); sys.stdin.read()"
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def held(tmp_path: Path) -> str:
    """Where a lock file may be made."""
    return instance_lock.path_of(str(tmp_path / "queue.db"), "i")


def _holder(held: str) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, held],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    child.communicate()


def test_it_lives_as_long_as_the_lock_is_held(held: str) -> None:
    assert not instance_lock.alive(held)
    descriptor = instance_lock.hold(held)
    assert instance_lock.alive(held)
    assert stat.S_IMODE(os.stat(held).st_mode) == 0o600
    os.close(descriptor)
    assert not instance_lock.alive(held)


def test_it_lives_until_the_last_that_inherited_it_is_gone(held: str) -> None:
    descriptor = instance_lock.hold(held)
    heir = os.dup(descriptor)
    os.close(descriptor)
    assert instance_lock.alive(held)
    os.close(heir)
    assert not instance_lock.alive(held)


def test_commands_do_not_inherit_it(held: str) -> None:
    descriptor = instance_lock.hold(held)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_kill_frees_it(held: str) -> None:
    child = _holder(held)
    assert instance_lock.alive(held)
    _end(child)
    assert not instance_lock.alive(held)


def test_one_name_is_held_once(held: str) -> None:
    descriptor = instance_lock.hold(held)
    with pytest.raises(StorageError, match="cannot make"):
        instance_lock.hold(held)
    os.close(descriptor)


def test_only_one_takes_what_is_dead(held: str) -> None:
    os.close(instance_lock.hold(held))
    first, second = instance_lock.look(held), instance_lock.look(held)
    assert first is not None
    assert second is not None
    assert instance_lock.take(first)
    assert not instance_lock.take(second)
    os.close(first)
    assert instance_lock.take(second)
    os.close(second)


def test_waiting_ends_with_the_holder(held: str) -> None:
    child = _holder(held)
    assert child.stdin is not None
    code = f"from queued.store import instance_lock; instance_lock.wait_gone({held!r}, 60)"
    waiter = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    child.communicate()
    assert waiter.wait() == 0


def test_waiting_ends_at_its_limit(held: str) -> None:
    descriptor = instance_lock.hold(held)
    for limit_s in (0.05, 0):
        with pytest.raises(WaitTimeoutError):
            instance_lock.wait_gone(held, limit_s)
    os.close(descriptor)
    instance_lock.wait_gone(held, None)


def test_what_is_gone_is_not_waited_for_and_can_be_removed(held: str) -> None:
    os.close(instance_lock.hold(held))
    instance_lock.remove(held)
    instance_lock.remove(held)
    assert instance_lock.look(held) is None
    instance_lock.wait_gone(held, None)


def test_the_lock_of_another_database_is_not_ours(tmp_path: Path) -> None:
    name = IdSource().make(0)
    descriptor = instance_lock.hold(instance_lock.path_of(str(tmp_path / "queue.db"), name))
    assert open_existing.alive(str(tmp_path / "queue.db")) == [name]
    assert open_existing.alive(str(tmp_path / "queue")) == []
    os.close(descriptor)
