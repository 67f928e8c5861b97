"""Root in a directory of another user: real links, journals and devices, the real queuectl."""

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from pwd import getpwnam

import pytest

from queued.core.errors import DeniedError
from queued.core.model import NewJob
from queued.store import paths, permissions
from queued.store.sqlite.client_store import SqliteStore
from tests.service import python_env, run_python

NOBODY = getpwnam("nobody")
COMMANDS = (
    *("enqueue -- true", "list", "show x", "logs x", "wait x --timeout 0", "cancel x", "status"),
    *("purge --all --yes", "dlq list", "dlq retry x", "worker list", "worker stop", "config list"),
    *("config get workers", "config set workers 3", "config unset workers", "db check"),
    *("db backup {theirs}/copy.db", "db restore {theirs}/copy.db", "db vacuum", "db stats"),
    *("worker start", "db backup {roots}/copy.db", "db restore {roots}/copy.db"),
)


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A directory of the user nobody, inside a directory with files that only root can write."""
    made = Path(tempfile.mkdtemp(prefix="queued-root-"))
    made.chmod(0o755)
    directory = made / "theirs"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
    (made / "precious").write_text("precious\n" * 1000)
    (made / "precious").chmod(0o600)
    (made / "roots").mkdir(mode=0o700)
    yield directory
    shutil.rmtree(made)


def _queuectl(directory: Path, command: str) -> "subprocess.CompletedProcess[str]":
    words = command.format(theirs=directory, roots=directory.parent / "roots").split()
    env = {**python_env(), "PYTHONDONTWRITEBYTECODE": "1"}
    return run_python("-m", "queued.ctl", "--db", directory / "queue.db", *words, env=env)


def _state(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Owner, mode and content of the files that the user nobody must not be able to change."""
    files = [file for file in directory.parent.rglob("*") if directory not in file.parents]
    return {
        str(file): (
            *(file.lstat().st_uid, file.lstat().st_mode, file.lstat().st_nlink),
            file.read_bytes() if file.is_file() else b"",
        )
        for file in files
        if file != directory
    }


def _in_use(directory: Path) -> None:
    """Makes a database of the user nobody with a job, and a backup of it."""
    store = SqliteStore(str(directory / "queue.db"))
    store.enqueue([NewJob("true")], max_retries=3, now_ms=1)
    store.close()
    shutil.copy(directory / "queue.db", directory / "copy.db")
    for file in directory.iterdir():
        os.chown(file, NOBODY.pw_uid, NOBODY.pw_gid)


@pytest.mark.parametrize("side", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("target", ["precious", "new"])
def test_a_planted_link_leads_root_to_nothing(theirs: Path, side: str, target: str) -> None:
    """The link names a file that only root can write, or a new file that only root could create."""
    for command in ("enqueue -- true", "db check", "db restore {theirs}/copy.db", "db vacuum"):
        _in_use(theirs)
        link = theirs / f"queue.db{side}"
        link.unlink(missing_ok=True)
        link.symlink_to(theirs.parent / target)
        before = _state(theirs)
        done = _queuectl(theirs, command)
        assert _state(theirs) == before, command
        assert done.returncode in {0, 3, 74, 77, 78}, done
        assert "internal error" not in done.stderr
        for file in theirs.iterdir():
            file.unlink()


def test_all_that_root_makes_there_is_the_owners(theirs: Path) -> None:
    for command in COMMANDS:
        done = _queuectl(theirs, command)
        assert done.returncode == 77 or not command.startswith("worker start"), done
        assert "internal error" not in done.stderr
        assert {file.stat().st_uid for file in theirs.iterdir()} == {NOBODY.pw_uid}, command
        assert {stat.S_IMODE(file.stat().st_mode) for file in theirs.iterdir()} == {0o600}


def test_a_job_of_root_is_recorded_as_submitted_by_root(theirs: Path) -> None:
    _in_use(theirs)
    _queuectl(theirs, "enqueue --id of-root -- true")
    assert json.loads(_queuectl(theirs, "show of-root --json").stdout)["submitted_by"] == "root"


def test_root_backs_up_and_restores_with_files_of_its_own(theirs: Path) -> None:
    _in_use(theirs)
    copy = theirs.parent / "roots" / "copy.db"
    done = _queuectl(theirs, "db backup {roots}/copy.db")
    assert (done.returncode, done.stdout.startswith(f"{copy}: ")) == (0, True), done
    assert (copy.stat().st_uid, stat.S_IMODE(copy.stat().st_mode)) == (0, 0o600)
    assert _queuectl(theirs, "enqueue -- true").returncode == 0
    assert _queuectl(theirs, "db restore {roots}/copy.db").returncode == 0
    assert len(json.loads(_queuectl(theirs, "list --json").stdout)) == 1
    assert {file.stat().st_uid for file in theirs.iterdir()} == {NOBODY.pw_uid}


def test_a_backup_does_not_follow_a_link_of_the_owner(theirs: Path) -> None:
    _in_use(theirs)
    (theirs / "below").symlink_to(theirs.parent / "roots")
    before = _state(theirs)
    assert _queuectl(theirs, "db backup {theirs}/below/copy.db").returncode in {74, 77}
    (theirs / "old.db").symlink_to(theirs.parent / "precious")
    assert _queuectl(theirs, "db restore {theirs}/old.db").returncode in {74, 77, 78}
    assert _state(theirs) == before


@pytest.mark.parametrize("link", ["old.db", "below"])
def test_a_restore_does_not_read_what_only_root_may(theirs: Path, link: str) -> None:
    _in_use(theirs)
    copy = theirs.parent / "roots" / "copy.db"
    assert _queuectl(theirs, "db backup {roots}/copy.db").returncode == 0
    (theirs / link).symlink_to(copy if link == "old.db" else copy.parent)
    before = _state(theirs)
    done = _queuectl(theirs, f"db restore {{theirs}}/{link}{'/copy.db' * (link == 'below')}")
    assert done.returncode in {74, 77}, done
    assert "Traceback" not in done.stderr
    assert _state(theirs) == before


def test_the_rights_of_root_come_back(theirs: Path) -> None:
    before = (os.geteuid(), os.getegid(), os.getgroups())
    with permissions.acting_as_owner(str(theirs / "queue.db")):
        assert (os.geteuid(), os.getegid()) == (NOBODY.pw_uid, NOBODY.pw_gid)
        assert os.getgroups() == os.getgrouplist("nobody", NOBODY.pw_gid)
        with permissions.acting_as_owner(str(theirs.parent / "roots" / "copy.db")):
            assert (os.geteuid(), os.getegid()) == (0, 0)
        assert os.geteuid() == NOBODY.pw_uid
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


def test_a_service_of_root_serves_nothing_of_another_user(theirs: Path) -> None:
    """Not even where a link of that user leads to a file of root's."""
    (theirs / "queue.db").symlink_to(theirs.parent / "roots" / "queue.db")
    done = run_python("-m", "queued", "--db", theirs / "queue.db")
    assert (done.returncode, done.stderr.count("\n")) == (77, 1), done
    assert f"{theirs} is refused: it belongs to the user nobody, we run as root" in done.stderr
    assert list((theirs.parent / "roots").iterdir()) == []


def test_links_of_root_are_followed_and_those_of_others_in_its_directories_are_not(
    theirs: Path,
) -> None:
    link = theirs.parent / "queue.db"
    link.symlink_to(theirs.parent / "roots" / "queue.db")
    assert permissions.foreign_directory(str(link)) is None
    assert paths.location(str(link), {}) == str(theirs.parent / "roots" / "queue.db")
    os.chown(link, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    with pytest.raises(DeniedError, match="it is a symbolic link of the user nobody"):
        paths.location(str(link), {})
    (theirs.parent / "in").symlink_to("theirs")
    for path in ("in/queue.db", "in/../x/queue.db", "roots/../theirs/queue.db", "theirs"):
        found = permissions.foreign_directory(f"{theirs.parent}/{path}")
        assert found == (None if path == "theirs" else str(theirs)), path


def test_a_link_that_takes_the_place_of_the_database_is_not_followed(tmp_path: Path) -> None:
    """Between the look at the path and the open."""
    tmp_path.chmod(0o700)
    real, path = str(tmp_path / "real.db"), str(tmp_path / "queue.db")
    SqliteStore(real).close()
    os.symlink(real, path)
    with pytest.raises(DeniedError, match="cannot open"):
        SqliteStore(path)
