"""The rules for owners and modes of files, as far as one user can test them."""

import os
import stat
from pathlib import Path

import pytest

from queued.core.errors import DeniedError
from queued.store import instance_lock, paths, permissions
from queued.store.sqlite.client_store import SqliteStore


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(0o700)
    return made


def database(directory: Path) -> str:
    path = str(directory / "queue.db")
    SqliteStore(path).close()
    return path


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o2770, 0o2775])
def test_a_directory_that_only_the_trusted_can_write_is_good(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    permissions.check_database(database(directory), serving=True)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o2777, 0o702])
def test_a_directory_that_everybody_can_write_is_refused(directory: Path, mode: int) -> None:
    path = database(directory)
    directory.chmod(mode)
    with pytest.raises(
        DeniedError, match=r"state is refused: everybody can write it \(.*directory of its own"
    ):
        SqliteStore(path)


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
def test_a_fifo_beside_the_database_is_refused_and_not_waited_for(
    directory: Path, side: str
) -> None:
    path = database(directory)
    Path(f"{path}{side}").unlink(missing_ok=True)
    os.mkfifo(f"{path}{side}", 0o600)
    with pytest.raises(DeniedError, match=f"{side} is refused: it is not a regular file"):
        SqliteStore(path)


def test_a_directory_of_a_group_needs_to_hand_its_group_on(directory: Path) -> None:
    path = database(directory)
    directory.chmod(0o770)
    with pytest.raises(DeniedError, match=r"its group can write it \(.*2770"):
        SqliteStore(path)


@pytest.mark.parametrize("side", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("mode", [0o602, 0o666, 0o620])
def test_a_file_that_others_can_write_is_refused(directory: Path, side: str, mode: int) -> None:
    path = database(directory)
    Path(f"{path}{side}").touch()
    os.chmod(f"{path}{side}", mode)
    with pytest.raises(DeniedError, match=f"queue.db{side} is refused: "):
        SqliteStore(path)


def test_a_link_has_the_permissions_of_its_target(directory: Path, tmp_path: Path) -> None:
    path = database(directory)
    (tmp_path / "link.db").symlink_to(path)
    permissions.check_database(str(tmp_path / "link.db"))
    directory.chmod(0o777)
    with pytest.raises(DeniedError):
        permissions.check_database(str(tmp_path / "link.db"))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize(("above", "mode"), [(0o700, 0o600), (0o2770, 0o660)])
def test_all_is_made_with_the_mode_of_its_place(
    directory: Path, umask: int, above: int, mode: int
) -> None:
    directory.chmod(above)
    path = str(directory / "queue.db")
    before = os.umask(umask)
    try:
        store = SqliteStore(path)
        os.close(instance_lock.create_locked(instance_lock.path_of(path, "i")))
        permissions.make_directory(str(directory / "log" / "deeper"))
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(f.stat().st_mode) for f in directory.iterdir() if f.is_file()}
    store.close()
    assert modes == {mode}
    for made in (directory / "log", directory / "log" / "deeper"):
        assert stat.S_IMODE(made.stat().st_mode) == above


@pytest.mark.parametrize("mode", [0o622, 0o602, 0o666])
def test_a_conf_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "queuectl.conf"
    path.touch()
    path.chmod(mode)
    with pytest.raises(DeniedError, match=r"queuectl.conf is refused: others .* \(chmod go-w"):
        paths.read_conf(str(path))


def test_a_side_file_that_goes_meanwhile_is_no_lack_of_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last connection of another process may delete the WAL at any moment."""
    path, plain = str(tmp_path / "queue.db"), os.access
    tmp_path.chmod(0o700)
    for side in ("", "-wal"):
        Path(path + side).touch(0o600)

    def meanwhile(name: str, mode: int, **how: bool) -> bool:
        if name.endswith("-wal"):
            Path(name).unlink(missing_ok=True)
        return plain(name, mode, **how)

    monkeypatch.setattr(os, "access", meanwhile)
    permissions.check_database(path)
    assert not os.path.exists(f"{path}-wal")
