"""kill -9 at each SQL statement of a dispatcher, and of making a database."""

import os
import signal
from itertools import count
from pathlib import Path

import apsw
import pytest

from queued.core.model import NewJob
from queued.store.sqlite import schema
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from tests.crash import die_at_statement
from tests.crash.kill_scenario import KillScenario
from tests.torture.history import traced

NINE = b"1\n2\n3\n4\n5\n6\n7\n8\n9\n"


@pytest.mark.parametrize("step", [1, 3])
def test_a_dispatcher_dies_at_every_statement(scenario: KillScenario, step: int) -> None:
    """Each dispatcher lives longer than the one before it, until all jobs have ended."""
    for n in range(60):
        hook = {"on_completed": traced(scenario.traces, "true")} if n % 4 == 0 else {}
        command = f"seq 9; exit $(( {n} % 5 == QUEUED_ATTEMPT ))"
        scenario.add(f"j{n}", command, prints=NINE, **hook)
    generations = scenario.queue.directory.parent / "generations"
    scenario.serve(
        "-m", "tests.crash.die_at_statement", str(generations), str(step), "queued", workers=2
    )
    broken = scenario.broken_promises(within_s=60)
    assert broken == []
    assert generations.stat().st_size > (60 if step == 1 else 25), "many dispatchers have died"
    for n in range(60):
        job = scenario.queue.job(f"j{n}")
        failed = n % 5 == 1
        assert (job.label, job.attempts) == ("completed", 1 if failed else 0)


def test_a_death_at_each_statement_of_making_a_database(tmp_path: Path) -> None:
    """The next program can use what is there. test_upgrade.py does the same to upgrades."""
    for number in count(1):
        directory = tmp_path / str(number)
        directory.mkdir(mode=0o700)
        path = str(directory / "queue.db")
        survived = _dies(path, number)
        assert _version(path) in range(schema.latest() + 1)
        store = SqliteStore(path, BusyHandler(5))
        assert _query(path, "SELECT id FROM jobs") == []
        assert store.enqueue([NewJob("true", "new")], max_retries=3, now_ms=1) == ["new"]
        store.close()
        assert _version(path) == schema.latest()
        assert _query(path, "PRAGMA integrity_check") == [("ok",)]
        if survived:
            break
    assert number > 10, "there were statements to die at"


def _dies(path: str, number: int) -> bool:
    """Opens the database in a process killed at its n-th statement; returns whether it survived."""
    pid = os.fork()
    if pid == 0:
        try:
            die_at_statement.die_at(number)
            SqliteStore(path).close()
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return status == 0


def _version(path: str) -> int:
    if not os.path.exists(path):
        return 0
    return int(str(_query(path, "PRAGMA user_version")[0][0]))


def _query(path: str, statement: str) -> list[tuple[object, ...]]:
    # By the library of the store: another SQLite in this process would drop the locks of a store.
    connection = apsw.Connection(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
