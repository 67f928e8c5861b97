"""queuectl db over PostgreSQL: check, stats, backup, vacuum, and why there is no restore."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from queued.core.model import State
from queued.store.postgres import address, sql_loader
from queued.store.postgres.client_store import PostgresStore
from queued.store.postgres.dispatcher_store import PostgresLedger
from tests import postgres_server
from tests.cli.in_process_cli import run
from tests.store.engine import Engine
from tests.store.test_queue_copy import fill, picture

LEFT = "1 running job is left of i, which is dead, until the next service starts"


@pytest.fixture
def url() -> Iterator[str]:
    """A queue with jobs in all states; the jobs of a dead service run."""
    made = postgres_server.fresh_schema()
    queuectl(made, "upgrade")
    with ExitStack() as stack:
        engine = Engine(
            stack, lambda: PostgresStore(made), lambda: PostgresLedger(made), host_clock=False
        )
        for state in (State.COMPLETED, State.DEAD, State.CANCELLED, State.PROCESSING):
            engine.put(state, command="true", id=str(state))
        engine.put(State.PENDING, command="true", id="pending", delay_ms=3_600_000)
    yield made
    alter(made, "DROP SCHEMA queued CASCADE")


def alter(url: str, *statements: str) -> None:
    """Changes the queue as its administrator could, without triggers."""
    where = address.parse(url)
    with psycopg.connect(where.conninfo, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            text = sql_loader.in_schema(statement, where.schema)
            connection.execute(text.replace("SCHEMA queued", f"SCHEMA {where.schema}").encode())


def queuectl(url: str, *words: str, code: int = 0) -> Any:
    """Runs `queuectl db` with --json; returns what it prints, or its error."""
    done = run(["db", *words, "--json", "--db", url])
    assert done.code == code, done
    return json.loads(done.out) if done.out else done.err


def test_a_sound_queue(url: str) -> None:
    for words in ([], ["--full"]):
        found = queuectl(url, "check", *words)
        assert found == {"good": True, "full": bool(words), "problems": [], "notes": [LEFT]}


BROKEN = {
    "UPDATE queued.counts SET n = 7 WHERE label = 'dead'": "the counter of dead jobs in the queue",
    "DELETE FROM queued.attempts WHERE job = 4": "job processing is running, and run 1 is not",
    "UPDATE queued.attempts SET ended_at = NULL, outcome = NULL WHERE job = 1": "run 1 of job "
    "completed has no end, and is not running",
    "UPDATE queued.jobs SET runs = 3 WHERE id = 'dead'": "job dead ran 3 times, 1 runs are",
    "UPDATE queued.jobs SET queue = 'q' WHERE id = 'dead'": "job dead of the queue 'q' has the",
    "UPDATE queued.jobs SET key = 'k', ready = state = 'pending' WHERE id IN "
    "('pending', 'processing')": "2 jobs of the key 'k' may run at once, and its limit is 1",
    "UPDATE queued.jobs SET key = 'k', blocked = 4 WHERE id = 'pending'": "job pending waits for "
    "its key 'k', which is free",
    "DROP INDEX queued.jobs_ready": "the schema has another index jobs_ready",
    "ALTER TABLE queued.jobs DISABLE TRIGGER jobs_recounted": "another trigger jobs.jobs_recounted",
    "ALTER TABLE queued.output ADD extra integer": "the schema has another column output.extra",
    "ALTER TABLE queued.attempts DROP CONSTRAINT attempts_job_fkey": "another constraint attempts.",
    "CREATE OR REPLACE FUNCTION queued.count_deleted() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RETURN NULL; END $$": "the schema has another function count_deleted",
    "UPDATE queued.jobs SET lane = 99 WHERE id = 'dead'": "a row of jobs belongs to no row of",
    "INSERT INTO queued.workers VALUES ('x', 1, 1, 1)": "a row of workers belongs to no row of",
}


@pytest.mark.parametrize("harm", BROKEN)
def test_a_broken_queue_is_named(url: str, harm: str) -> None:
    alter(url, "INSERT INTO queued.counts VALUES ('default', 'dead', 0)", harm)
    found = queuectl(url, "check", "--full", code=1)
    assert any(BROKEN[harm] in line for line in found["problems"]), found
    assert queuectl(url, "check", "--full", code=1) == found, "the check has changed nothing"


def test_a_job_whose_requirements_are_missing_is_damage(url: str) -> None:
    alter(url, "UPDATE queued.jobs SET lane = 99 WHERE id = 'dead'")
    for words in (["show", "dead"], ["list", "--all"]):
        done = run([*words, "--db", url])
        assert (done.code, "what the job dead requires is missing" in done.err) == (78, True)


def test_a_backup_is_a_queue_of_its_own(url: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    fill(url)
    target = str(tmp_path / "copy.db")
    assert queuectl(url, "backup", target)["bytes"] == Path(target).stat().st_size
    assert [*tmp_path.iterdir()] == [Path(target)]
    assert picture(target) == picture(url)
    assert queuectl(target, "check", "--full")["notes"] == [LEFT]
    assert "exists already" in queuectl(url, "backup", target, code=4)
    queuectl(url, "backup", target, "--force")


def test_a_user_that_sees_only_its_own_jobs_is_refused(url: str, tmp_path: Path) -> None:
    schema = address.parse(url).schema
    tmp_path.chmod(0o700)
    for role, code in (("enqueuer", 77), ("reader", 0)):
        user = f"{schema}_{role}_user"
        alter(url, f"CREATE ROLE {user} LOGIN", f"GRANT {schema}_{role} TO {user}")
        for words in (["check"], ["stats"], ["backup", str(tmp_path / role)]):
            told = queuectl(url.replace("tester@", f"{user}@"), *words, code=code)
            assert code == 0 or f"ask for the role {schema}_reader" in told
        assert "needs the owner" in queuectl(url.replace("tester@", f"{user}@"), "vacuum", code=77)
        alter(url, f"DROP ROLE {user}")


def test_stats_tell_what_keeps_rows_from_being_vacuumed(url: str) -> None:
    where = address.parse(url)
    with psycopg.connect(where.conninfo, application_name="forgotten") as held:
        held.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        pid = held.execute("SELECT pg_backend_pid() FROM pg_class").fetchone()
        found = queuectl(url, "stats")
    assert found["rows"]["jobs"] == 5
    assert (found["oldest"]["id"], found["newest"]["id"]) == ("completed", "pending")
    assert found["bytes"] == sum(table["bytes"] for table in found["tables"].values()) > 100_000
    assert found["standbys"] == []
    snapshot = found["oldest_snapshot"]
    assert pid is not None
    assert (snapshot["pid"], snapshot["application"]) == (pid[0], "forgotten")
    shown = run(["db", "stats", "--db", url]).out
    assert "\ntable jobs " in shown
    assert " dead rows, autovacuum: never\n" in shown


def test_a_vacuum_is_one_of_the_server(url: str) -> None:
    told = queuectl(url, "vacuum")
    assert told["before"] > 100_000 < told["after"]
    where = address.parse(url)
    with psycopg.connect(where.conninfo) as connection:
        vacuumed = connection.execute(
            "SELECT relname FROM pg_stat_all_tables WHERE schemaname = %s "
            "AND last_vacuum IS NOT NULL AND last_analyze IS NOT NULL",
            [where.schema],
        ).fetchall()
    assert {("jobs",), ("attempts",), ("output",), ("deltas",)} <= {*vacuumed}


def test_a_restore_names_the_command_that_does_it(url: str) -> None:
    told = queuectl(url, "restore", "/srv/b.db", code=2)
    assert f"cp /srv/b.db COPY && queuectl --db COPY db move --to '{url}'" in told


def test_completion(url: str) -> None:
    for kind, prefix, expected in (
        ("jobs", "p", ["pending", "processing"]),
        ("live-jobs", "", ["pending", "processing"]),
        ("dead-jobs", "", ["dead", "cancelled"]),
        ("queues", "d", ["default"]),
        ("stored", "", []),
    ):
        assert run(["--db", url, "complete", kind, prefix]) == (
            0,
            "".join(f"{word}\n" for word in expected),
            "",
        )


def test_the_command_that_moves_a_queue(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    old, new = str(tmp_path / "old.db"), postgres_server.fresh_schema()
    fill(old)
    for words, code, told in (
        (["--to", ""], 2, "an empty text names no database"),
        (["--to", old], 2, "is the database itself"),
        (["--to", "mysql://h/d"], 2, "is neither the path of an SQLite file nor postgresql"),
        (["--to", "postgresql://u:secret@h/d"], 2, "other users see a password"),
    ):
        assert told in queuectl(old, "move", *words, code=code)
    moved = queuectl(old, "move", "--to", new)
    assert (moved["moved"], moved["to"]) == (old, address.parse(new).shown)
    assert {name: table["rows"] for name, table in moved["tables"].items()}["attempts"] == 30
    assert f"was moved to {new}; give that with --db" in queuectl(old, "stats", code=78)
