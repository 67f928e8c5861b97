"""db: check, backup, restore, vacuum, stats; a refused command changes nothing."""

import os
import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from queued.core.runs import Chunk
from queued.store import instance_lock
from queued.store.sqlite import schema
from tests.cli.queuectl_runner import QueuectlRunner, failed

GOOD = {"good": True, "full": False, "problems": [], "notes": []}

pytestmark = pytest.mark.sqlite_only


def _alter(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def _lively(queuectl: QueuectlRunner) -> None:
    """Jobs in all states."""
    queuectl.run("done")
    queuectl.run("broken", failed(), max_retries=1)
    queuectl.run("again", failed())
    queuectl.add("running")
    queuectl.prints(queuectl.claim(), b"hello")
    queuectl.add("waiting")
    _alter(
        queuectl.database,
        "INSERT INTO instances (id, host, pid, version, started_at) VALUES ('i', 'h', 1, '0', 1)",
    )


def test_a_sound_database(queuectl: QueuectlRunner) -> None:
    """Also if the instance of left claims has no row any more."""
    _lively(queuectl)
    left = "1 running job is left of i, which is dead, until the next service starts"
    for change in ("SELECT 1", "DELETE FROM instances"):
        _alter(queuectl.database, change)
        for words in ([], ["--full"]):
            found = queuectl.json("db", "check", *words)
            assert found == {**GOOD, "full": bool(words), "notes": [left]}


def test_check_of_an_undamaged_database(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    assert queuectl.ok("db", "check") == "ok (quick check; --full checks more)\n"
    assert queuectl.ok("db", "check", "--full") == "ok\n"


BROKEN = {
    "UPDATE counts SET n = 7 WHERE label = 'dead'": "the counter of dead jobs in the queue "
    "'default' is 7, there are 1",
    "UPDATE jobs SET ready = 0, blocked = 2 WHERE id = 'waiting'": "job waiting waits for other "
    "jobs, and none of them is left",
    "DELETE FROM attempts WHERE job = 4": "job running is running, and run 1 is not recorded",
    "UPDATE attempts SET ended_at = NULL, outcome = NULL WHERE job = 1": "run 1 of job done has "
    "no end, and is not running",
    "UPDATE jobs SET runs = 3 WHERE id = 'again'": "job again ran 3 times, 1 runs are recorded, "
    "the last of them is 1",
    "UPDATE jobs SET queue = 'q' WHERE id = 'again'": "job again of the queue 'q' has the lane 0, "
    "which is of the queue 'default'",
    "UPDATE jobs SET key = 'k' WHERE id IN ('waiting', 'running')": "2 jobs of the key 'k' may run "
    "at once, and its limit is 1",
    "UPDATE jobs SET key = 'k', ready = 0, blocked = 4 WHERE id = 'waiting'": "job waiting waits "
    "for its key 'k', which is free",
}


@pytest.mark.parametrize("harm", BROKEN)
def test_a_broken_invariant_is_named(queuectl: QueuectlRunner, harm: str) -> None:
    _lively(queuectl)
    _alter(queuectl.database, harm)
    done = queuectl("db", "check", "--json")
    assert (done.code, done.err) == (1, "")
    assert BROKEN[harm] in done.out
    assert '"good": false' in done.out


def test_references_are_for_the_full_check(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    _alter(queuectl.database, "INSERT INTO output VALUES (9, 9, 1, 0, x'78')")
    assert queuectl("db", "check").code == 0
    done = queuectl("db", "check", "--full")
    told = "queuectl: the database is damaged; copy it, then see: queuectl help db restore\n"
    assert done == (1, "a row of output belongs to no row of attempts\n", told)


def test_a_damaged_page_is_found(queuectl: QueuectlRunner) -> None:
    queuectl.ok("enqueue", "-", stdin='{"command":"true"}\n' * 3000)
    with queuectl.database.open("r+b") as file:
        file.seek(queuectl.database.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    kept = queuectl.database.read_bytes()
    for words in ([], ["--full"]):
        done = queuectl("db", "check", *words)
        assert done.code == 1
        assert done.out
    assert queuectl("db", "backup", "b.db").code == 78
    assert queuectl.database.read_bytes() == kept
    assert not (queuectl.directory / "b.db").exists()


@pytest.mark.parametrize("verb", ["check", "vacuum", "stats", "backup x.db"])
def test_there_must_be_a_database(queuectl: QueuectlRunner, verb: str) -> None:
    words = ("db", *verb.split())
    assert queuectl(*words).code == 3
    queuectl.database.write_bytes(b"")
    assert queuectl(*words).code == 78
    queuectl.database.write_text("my notes\n" * 200)
    assert queuectl(*words).code == 78
    assert queuectl.database.read_text() == "my notes\n" * 200
    assert os.listdir(queuectl.directory) == ["queue.db"]


def test_a_backup_is_whole_private_and_needs_no_other_file(
    queuectl: QueuectlRunner, backup: Path
) -> None:
    _lively(queuectl)
    before = queuectl.dump()
    assert queuectl.ledger.config() == {}  # an open connection keeps many commits in the WAL
    told = queuectl.json("db", "backup", str(backup))
    assert told == {"backup": str(backup), "bytes": backup.stat().st_size}
    assert os.listdir(backup.parent) == ["copy.db"]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert queuectl.dump() == before
    other = backup.with_name("restored.db")
    shutil.copy(backup, other)
    assert queuectl.ids("--db", str(other)) == ["done", "broken", "again", "running", "waiting"]
    assert queuectl.json("--db", str(other), "db", "check", "--full")["good"]


def test_a_backup_is_of_one_moment(queuectl: QueuectlRunner, backup: Path) -> None:
    """Rows of one transaction are both in the backup, or neither, while another process writes."""
    queuectl.ok("enqueue", "-", stdin='{"command":"true"}\n' * 2000)
    stop = threading.Event()
    ledger = queuectl.ledger

    def write() -> None:
        connection = sqlite3.connect(queuectl.database, timeout=30)
        for number in range(100_000):
            if stop.is_set():
                break
            for table in ("settings", "clock"):
                values = (f"k{number}", number) + ((1,) if table == "settings" else ())
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608
            connection.commit()
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(4):
            queuectl.ok("db", "backup", "--force", str(backup))
            copy = sqlite3.connect(backup)
            pairs = [
                copy.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608
                for name in ("settings", "clock")
            ]
            copy.close()
            assert pairs[0] == pairs[1]
    finally:
        stop.set()
        writer.join()
    ledger.close()


def test_a_restore_puts_the_backup_in_place_and_keeps_what_was_there(
    queuectl: QueuectlRunner, backup: Path
) -> None:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    queuectl.add("b")
    told = queuectl.json("db", "restore", str(backup))
    assert told["restored"] == str(queuectl.database)
    assert queuectl.ids() == ["a"]
    assert queuectl.ids("--db", told["kept"]) == ["a", "b"]
    assert queuectl.add("c") == "c"
    assert queuectl.json("db", "check", "--full")["good"]


def test_open_connections_read_the_restored_database(
    queuectl: QueuectlRunner, backup: Path
) -> None:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    queuectl.add("b")
    assert queuectl.ledger.config() == {}
    queuectl.ok("db", "restore", str(backup))
    assert queuectl.claim().id == "a"
    assert queuectl.ids("--state", "pending") == []


def test_a_restore_where_nothing_is(queuectl: QueuectlRunner, backup: Path) -> None:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    new = queuectl.directory / "new" / "q.db"
    told = queuectl.json("--db", str(new), "db", "restore", str(backup))
    assert told == {"restored": str(new), "kept": None}
    assert queuectl.ids("--db", str(new)) == ["a"]


@pytest.mark.parametrize("harm", ["text", "cut", "zeros", "newer"])
def test_a_restore_of_what_cannot_be_read(
    queuectl: QueuectlRunner, backup: Path, harm: str
) -> None:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    if harm == "newer":
        _alter(queuectl.database, f"PRAGMA user_version = {schema.latest() + 1}")
    else:
        contents = {"text": b"notes", "cut": backup.read_bytes()[:1000], "zeros": b"\0" * 9000}
        queuectl.database.write_bytes(contents[harm])
    content = queuectl.database.read_bytes()
    assert queuectl("list").code == 78
    told = queuectl.json("db", "restore", str(backup))
    assert harm == "newer" or Path(told["kept"]).read_bytes() == content
    assert queuectl.ids() == ["a"]


@pytest.fixture
def bad_backups(queuectl: QueuectlRunner, backup: Path) -> dict[str, Path]:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    made = {
        name: backup.with_name(name) for name in ("text", "newer", "foreign", "damaged", "empty")
    }
    for path in made.values():
        shutil.copy(backup, path)
    made["text"].write_text("my notes\n" * 200)
    made["empty"].write_text("")
    _alter(made["newer"], f"PRAGMA user_version = {schema.latest() + 1}")
    _alter(made["foreign"], "PRAGMA application_id = 5")
    with made["damaged"].open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff" * 5000)
    return made | {"none": backup.with_name("none"), "directory": backup.parent}


def test_a_bad_backup_is_refused(queuectl: QueuectlRunner, bad_backups: dict[str, Path]) -> None:
    before = _files(queuectl.directory)
    for name, path in bad_backups.items():
        done = queuectl("db", "restore", str(path))
        assert done.code == (3 if name == "none" else 78), (name, done)
        assert (done.out, done.err.count("\n")) == ("", 1)
    assert queuectl("db", "restore", str(queuectl.database)).code == 2
    assert _files(queuectl.directory) == before


def test_no_restore_while_a_service_lives(queuectl: QueuectlRunner, backup: Path) -> None:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    held = instance_lock.create_locked(
        instance_lock.path_of(str(queuectl.database), "1m8abcdefgh00")
    )
    done = queuectl("db", "restore", str(backup))
    os.close(held)
    assert done.code == 75
    assert "(1m8abcdefgh00); stop it first: queuectl worker stop" in done.err
    queuectl.ok("db", "restore", str(backup))


def test_no_restore_over_a_database_of_another_program(
    queuectl: QueuectlRunner, backup: Path
) -> None:
    queuectl.add("a")
    queuectl.ok("db", "backup", str(backup))
    other = queuectl.directory / "other.db"
    _alter(other, "CREATE TABLE addresses (name)")
    before = other.read_bytes()
    assert queuectl("--db", str(other), "db", "restore", str(backup)).code == 2
    assert other.read_bytes() == before


def test_a_vacuum_gives_room_back(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    queuectl.add("big")
    claim = queuectl.claim()
    for position in range(0, 400_000, 50_000):
        queuectl.prints(claim, b"x" * 50_000, position=position)
    queuectl.end(claim)
    queuectl.ok("purge", "--state", "completed", "--json", "--yes")
    told = queuectl.json("db", "vacuum")
    assert told["before"] - told["after"] > 300_000
    assert told["after"] == queuectl.database.stat().st_size
    assert queuectl.ok("db", "vacuum").endswith(" now: 0B freed\n")


def test_stats(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    queuectl.add("b")
    with queuectl.ledger.transaction():
        (claim,) = queuectl.ledger.claim("i", [1], 5, now_ms=10**15)
        queuectl.ledger.store_output([(claim.key, Chunk(1, 0, b"hello"))])
    told = queuectl.json("db", "stats")
    assert told["rows"] == {
        "jobs": 2,
        "attempts": 2,
        "output": 1,
        **dict.fromkeys(("settings", "schedules", "instances", "workers"), 0),
    }
    assert (told["output_kept_bytes"], told["output_printed_bytes"]) == (5, 0)
    assert (told["oldest"]["id"], told["newest"]["id"]) == ("a", "b")
    assert told["bytes"] == told["pages"] * told["page_bytes"]
    shown = queuectl.ok("db", "stats")
    assert "rows of attempts   2" in shown
    assert max(map(len, shown.splitlines())) <= 80 or len(str(queuectl.database)) > 50


def test_stats_of_nothing(queuectl: QueuectlRunner) -> None:
    queuectl.ok("config", "set", "workers", "2")
    told = queuectl.json("db", "stats")
    assert (told["oldest"], told["newest"], told["rows"]["jobs"]) == (None, None, 0)


def test_the_size_of_what_is_partly_in_the_wal(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    for position in range(0, 400_000, 50_000):
        queuectl.prints(claim, b"x" * 50_000, position=position)
    told = queuectl.json("db", "stats")
    assert told["wal_bytes"] > 400_000 > queuectl.database.stat().st_size
    assert told["bytes"] == told["pages"] * told["page_bytes"] > 400_000
    queuectl.ledger.close()
    assert queuectl.json("list")
    assert queuectl.database.stat().st_size == told["bytes"]
