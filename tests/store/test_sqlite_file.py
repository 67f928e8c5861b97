"""SQLite: which files are accepted, refused and made, and waits for locks."""

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from queued.core.errors import (
    BusyError,
    ConfigError,
    DatabaseUnusableError,
    DeniedError,
    QueuedError,
    StorageError,
)
from queued.core.model import NewJob
from queued.core.records import JobFilter
from queued.store.sqlite import schema
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.error_names import named_errors
from queued.store.sqlite.maintenance import integrity_check, probe
from tests.service import python_env, run_python
from tests.store.engine import NOW
from tests.terminal import on_terminal

ROOT = Path(__file__).resolve().parents[2]
FIRST_COMMAND = """
import os, sys
from queued.core.model import NewJob
from queued.store.sqlite import schema
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
print(flush=True)
sys.stdin.read()
store = SqliteStore(sys.argv[1], BusyHandler(60))
store.enqueue([NewJob("true")], max_retries=3, now_ms=1)
store.close()
"""


def _open(path: str, limit_s: float = 10) -> SqliteStore:
    return SqliteStore(path, BusyHandler(limit_s))


def _use(path: str) -> None:
    store = _open(path)
    store.enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
    assert len(list(store.list(JobFilter()))) == 1
    store.close()


def _text(path: str) -> None:
    Path(path).write_text("these are my notes\n" * 100)


def _short(path: str) -> None:
    Path(path).write_bytes(b"xy")


def _foreign(path: str) -> None:
    with _sqlite(path) as connection:
        connection.execute("CREATE TABLE addresses (name)")


def _foreign_number(path: str) -> None:
    with _sqlite(path) as connection:
        connection.execute("PRAGMA application_id = 1")


def _foreign_version(path: str) -> None:
    with _sqlite(path) as connection:
        connection.execute("PRAGMA user_version = 1")


def _foreign_wal(path: str) -> None:
    """The other program was killed: all commits are in its WAL."""
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('PRAGMA journal_mode = WAL'); c.execute('CREATE TABLE addresses (name)');"
        "c.commit(); os._exit(0)"
    )
    run_python("-c", script, path, check=True)
    assert os.stat(f"{path}-wal").st_size > 0


def _newer(path: str) -> None:
    _use(path)
    with _sqlite(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.latest() + 1}")


def _damaged_header(path: str) -> None:
    _use(path)
    with open(path, "r+b") as file:
        file.write(b"\0" * 64)


def _cut_off(path: str) -> None:
    _use(path)
    os.truncate(path, 1000)


def _damaged_pages(path: str) -> None:
    _use(path)
    size = os.stat(path).st_size
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))


@contextmanager
def _sqlite(path: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    with connection:
        yield connection
    connection.close()


REFUSED: list[tuple[Callable[[str], None], str]] = [
    (_text, "damaged or no database"),
    (_short, "damaged or no database"),
    (_foreign, "is a database of another program"),
    (_foreign_number, "is a database of another program"),
    (_foreign_version, "is a database of another program"),
    (_foreign_wal, "is a database of another program"),
    (_newer, r"has schema \d+, newer than the \d+"),
    (_damaged_header, "damaged or no database"),
    (_cut_off, "damaged or no database"),
    (_damaged_pages, "damaged or no database"),
    (os.mkdir, "is not a regular file"),
    (os.mkfifo, "is not a regular file"),
]


def _contents(directory: Path) -> dict[str, bytes | None]:
    """The files of a directory, without the index of the WAL, which SQLite may rebuild."""
    return {
        path.name: path.read_bytes() if path.is_file() else None
        for path in directory.iterdir()
        if not path.name.endswith("-shm")
    }


@pytest.mark.parametrize(
    ("make", "reason"), REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_file_that_is_not_usable_is_refused_and_not_touched(
    path: str, make: Callable[[str], None], reason: str
) -> None:
    make(path)
    directory = Path(path).parent
    before = _contents(directory)
    for _ in range(2):
        with pytest.raises(DatabaseUnusableError, match=reason) as refusal:
            _open(path)
        assert path in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert _contents(directory) == before


def test_damage_that_shows_only_later_is_named_too(path: str) -> None:
    store = _open(path)
    store.enqueue([NewJob("x" * 50_000)] * 20, max_retries=3, now_ms=NOW)
    store.close()
    size = os.stat(path).st_size
    with open(path, "r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 2))
    store = _open(path)
    with pytest.raises(DatabaseUnusableError, match="is damaged"):
        list(store.list(JobFilter()))
    store.close()


def test_an_empty_file_becomes_a_database(path: str) -> None:
    Path(path).touch()
    _use(path)


@pytest.mark.parametrize(
    ("path", "error"),
    [("/proc/queue.db", QueuedError), ("/dev/null/queue.db", StorageError)],
)
def test_a_place_where_no_file_can_be_is_named(path: str, error: type[QueuedError]) -> None:
    with pytest.raises(error, match=path):
        _open(path)


def test_a_link_that_leads_nowhere_is_refused(path: str, tmp_path: Path) -> None:
    os.symlink(tmp_path / "nowhere" / "queue.db", path)
    with pytest.raises(DeniedError, match="cannot open"):
        _open(path)


def test_opening_again_changes_nothing(path: str) -> None:
    _open(path).close()
    before = _contents(Path(path).parent)
    _open(path).close()
    assert _contents(Path(path).parent) == before


def test_closing_twice_is_no_error(path: str) -> None:
    store = _open(path)
    store.close()
    store.close()


def test_twenty_first_commands_at_the_same_moment(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "queue.db")
    start_reading, start = os.pipe()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_COMMAND, path],
            stdin=start_reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=python_env(),
        )
        for _ in range(20)
    ]
    os.close(start_reading)
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    os.close(start)  # the starting signal: all of them read its end
    complaints = [child.communicate()[1].decode() for child in children]
    assert [text for text in complaints if text] == []
    store = _open(path)
    assert len(list(store.list(JobFilter()))) == 20
    store.close()
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700


def test_a_database_that_stays_locked_is_busy_after_the_patience(path: str) -> None:
    waits: list[float] = []
    store = SqliteStore(path, BusyHandler(0.3, waits.append))
    other = apsw.Connection(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="stayed locked by another program"):
        store.config_set("workers", "4", now_ms=NOW)
    assert waits[0] < 0.1
    assert 0.2 < waits[-1] < 0.3
    assert store.config() == {}, "reading does not wait for writers"
    other.execute("COMMIT")
    store.config_set("workers", "4", now_ms=NOW)
    store.close()
    other.close()


STOPPED = """
import apsw, os, signal, sys
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.connection import Database
from queued.store.sqlite.upgrade import migrate
child = os.fork()
if not child:
    os.setpgid(0, 0)  # a terminal cannot stop the leader of its session
    with Database(sys.argv[1], BusyHandler(10), migrate).transaction():
        os.kill(os.getpid(), signal.SIGTSTP)
    os._exit(0)
stopped = os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
try:
    apsw.Connection(sys.argv[1]).execute("BEGIN IMMEDIATE")
    print("stopped" if stopped else "ended", "without the lock")
except apsw.BusyError:
    print("stopped with the lock")
os.kill(child, signal.SIGKILL)
"""


def test_ctrl_z_does_not_stop_a_process_that_has_the_lock(path: str) -> None:
    """All others would wait until the user continues it."""
    with on_terminal([sys.executable, "-c", STOPPED, path], python_env()) as terminal:
        terminal.sees("stopped without the lock")


def test_a_new_file_that_is_locked_is_busy_after_the_patience(path: str) -> None:
    other = apsw.Connection(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BusyError):
        _open(path, 0.1)
    other.execute("COMMIT")
    other.close()
    _use(path)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (apsw.BusyError("x"), BusyError),
        (apsw.LockedError("x"), BusyError),
        (apsw.FullError("x"), StorageError),
        (apsw.IOError("x"), StorageError),
        (apsw.CorruptError("x"), DatabaseUnusableError),
        (apsw.NotADBError("x"), DatabaseUnusableError),
        (apsw.ReadOnlyError("x"), DeniedError),
        (apsw.CantOpenError("x"), DeniedError),
        (PermissionError(13, "x"), DeniedError),
        (OSError(28, "No space left on device"), StorageError),
        (apsw.SQLError("a defect of ours"), apsw.SQLError),
    ],
    ids=repr,
)
def test_errors_of_the_engine_become_ours(error: Exception, named: type[Exception]) -> None:
    with pytest.raises(named) as raised, named_errors("/x/queue.db"):
        raise error
    assert type(raised.value) is named
    if named is not apsw.SQLError:
        assert "/x/queue.db" in str(raised.value)
        assert raised.value.__cause__ is error


@pytest.mark.parametrize("number", [errno.EROFS, errno.EDQUOT, errno.EMFILE])
@pytest.mark.parametrize("error", [apsw.ReadOnlyError, apsw.IOError, apsw.CantOpenError])
def test_a_refusal_of_the_system_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], number: int
) -> None:
    """As after a failure of the disk, when ext4 refuses to write and is not mounted read-only."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    told = {errno.EROFS: "is read-only", errno.EDQUOT: "quota", errno.EMFILE: "ulimit -n"}
    with monkeypatch.context() as patch, pytest.raises(StorageError, match=told[number]):
        patch.setattr(os, "open", refuse)
        with named_errors(f"{tmp_path}/queue.db"):
            raise error


LIMITED = """
import os, resource, sys
from queued.core.model import NewJob
from queued.store.sqlite.client_store import SqliteStore
store = SqliteStore(sys.argv[2]) if sys.argv[1] != "RLIMIT_NOFILE" else None
limit = getattr(resource, sys.argv[1])
resource.setrlimit(limit, (int(sys.argv[3]), resource.getrlimit(limit)[1]))
try:
    store = store or SqliteStore(sys.argv[2])
    store.enqueue([NewJob("x" * 100_000)] * 10, max_retries=3, now_ms=1)
except Exception as error:
    resource.setrlimit(limit, (resource.getrlimit(limit)[1],) * 2)
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("RLIMIT_FSIZE", 300_000, "the file may not grow; raise the limit of file sizes"),
        ("RLIMIT_NOFILE", 3, "this process may not open more files; raise the limit"),
        ("RLIMIT_NOFILE", 4, "this process may not open more files; raise the limit"),
        ("RLIMIT_NOFILE", 5, "this process may not open more files; raise the limit"),
    ],
)
def test_a_limit_of_the_process_is_named(path: str, limit: str, value: int, told: str) -> None:
    _open(path).close()
    done = run_python("-c", LIMITED, limit, path, str(value))
    assert done.stdout.startswith(f"StorageError cannot write {path}: {told}"), done


@pytest.mark.parametrize("side", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_removed_or_replaced_file_takes_no_commit(
    path: str, tmp_path: Path, side: str, *, replaced: bool
) -> None:
    store = _open(path)
    os.rename(f"{path}{side}", tmp_path / "moved")
    if replaced:
        Path(f"{path}{side}").write_bytes((tmp_path / "moved").read_bytes())
    told = f"{path}{side} was removed or replaced"
    for use in (store.version, lambda: store.config_set("workers", "4", now_ms=NOW)):
        with pytest.raises(DatabaseUnusableError, match=told):
            use()
    after = _contents(Path(path).parent)
    store.close()
    assert _contents(Path(path).parent) == after, "no checkpoint and no file deleted"


def test_a_database_with_two_names_is_refused(path: str, tmp_path: Path) -> None:
    _use(path)
    os.link(path, tmp_path / "other.db")
    for use in (
        lambda: _open(path).close(),
        lambda: integrity_check.check(path, BusyHandler(10), full=False),
        lambda: probe.schema_version(path),
    ):
        with pytest.raises(DatabaseUnusableError, match="has 2 names"):
            use()
    os.unlink(tmp_path / "other.db")
    _open(path).close()


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist"])
def test_another_journal_mode_is_switched_back(path: str, mode: str) -> None:
    _open(path).close()
    with _sqlite(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    report = integrity_check.check(path, BusyHandler(10), full=False)
    assert report.problems == [
        "the journal mode is delete, not wal: a power cut may lose jobs; a start mends it"
    ]
    store = _open(path)
    assert store._database._connection.pragma("journal_mode") == "wal"
    store.close()
    assert integrity_check.check(path, BusyHandler(10), full=False).problems == []


def test_a_job_that_cannot_be_read_is_named(path: str) -> None:
    store = _open(path)
    store.enqueue([NewJob("true", "odd")], max_retries=3, now_ms=NOW)
    with _sqlite(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE jobs SET state = 'lost'")
    with pytest.raises(DatabaseUnusableError, match="the job odd: 'lost' is not a valid State"):
        list(store.list(JobFilter()))
    store.close()


def test_statistics_of_the_planner_are_no_damage(path: str) -> None:
    _open(path).close()
    with _sqlite(path) as connection:
        connection.execute("ANALYZE")
    assert integrity_check.check(path, BusyHandler(10), full=True).problems == []


@pytest.mark.parametrize("loaded", ["3.40.1", "3.51.2"])
def test_a_library_that_can_lose_commits_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch, loaded: str
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: loaded)
    with pytest.raises(ConfigError, match=f"SQLite {loaded} can lose committed jobs"):
        _open(path)
    assert not Path(path).exists()


def test_a_schema_cannot_be_overwritten_and_calls_no_function_of_ours(path: str) -> None:
    """Another user may have made the file: its views and triggers are not trusted."""
    store = _open(path)
    connection = store._database._connection
    connection.execute("PRAGMA writable_schema = ON")
    with pytest.raises(apsw.SQLError, match="may not be modified"):
        connection.execute("DELETE FROM sqlite_schema")
    connection.create_scalar_function("harm", lambda *_: 1)
    connection.execute("CREATE VIEW planted AS SELECT harm()")
    with pytest.raises(apsw.SQLError, match="unsafe use of harm"):
        connection.execute("SELECT * FROM planted").fetchall()
    store.close()


def test_a_safe_library_is_accepted(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in ("3.51.3", "3.100.0", "4.0.0"):
        monkeypatch.setattr(apsw, "sqlite_lib_version", lambda loaded=loaded: loaded)
        _open(path).close()


def test_a_job_that_a_foreign_trigger_ignores_is_not_acknowledged(tmp_path: Path) -> None:
    path = str(tmp_path / "queue.db")
    with closing(SqliteStore(path, BusyHandler(1))) as store:
        with closing(apsw.Connection(path)) as other:
            other.execute(
                "CREATE TRIGGER odd BEFORE INSERT ON jobs BEGIN SELECT RAISE(IGNORE); END"
            )
        with pytest.raises(DatabaseUnusableError, match="trigger of another program"):
            store.enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
