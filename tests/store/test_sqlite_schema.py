"""SQLite: the schema, the statements, and that the hot ones go by their index."""

import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from queued.core.model import Label, NewJob
from queued.core.rates import Rate
from queued.core.records import JobFilter
from queued.store.sqlite import schema, sql_loader, upgrade
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.connection import Database
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests.store.engine import NOW

SQL = sql_loader.load()
PARTS = {
    "job",
    "run",
    "matches",
    "unexpired",
    "queue_columns",
    "queue_values",
    "schedule",
    "schedule_waits",
    "condition_status",
    "awaited_jobs",
    "ready_priorities",
    "first_in_line",
    "ready_with_rate",
    "started_in_window",
}
STATEMENTS = sorted(SQL.keys() - PARTS)
SOURCE = Path(sql_loader.__file__).parent

BY_ROW = "SEARCH jobs USING INTEGER PRIMARY KEY"
BY_STATE = "SEARCH j USING INDEX jobs_by_state (state=?)"
OF_ATTEMPTS = "SEARCH a USING PRIMARY KEY (job=? AND number=?)"
BY_ID = "SEARCH jobs USING COVERING INDEX sqlite_autoindex_jobs_1"
WAITING = "SEARCH jobs USING COVERING INDEX jobs_waiting"
CHANGED = "SEARCH jobs USING COVERING INDEX jobs_changed (awaited=?)"
FIRED_LIVE = "SEARCH jobs USING INDEX jobs_fired_live"


def _step_of_starts(alias: str, bound: str = "") -> list[str]:
    return [
        f"SEARCH {alias} USING PRIMARY KEY (kind=? AND owner=? AND number=?) LEFT-JOIN",
        f"SEARCH s USING PRIMARY KEY (kind=? AND owner=?{bound})",
    ]


OF_READY_KEY = ["SEARCH u USING INDEX jobs_key_places (key=?)"]
OF_STARTED_KEY = ["SEARCH s USING PRIMARY KEY (kind=? AND owner=? AND number>?)"] * 2
OF_CHANGED_KEYS = [
    "SCAN one VIRTUAL TABLE INDEX 1:",
    "SEARCH k USING INTEGER PRIMARY KEY (rowid=?)",
]

# Every hot statement with all that its plan may touch. `first` is the array of the jobs to claim.
PLANS = {
    "enqueue": [
        "SEARCH lanes USING COVERING INDEX sqlite_autoindex_lanes_1 (queue=? AND requires=?)"
    ],
    "first_ready": ["SEARCH jobs USING COVERING INDEX jobs_ready (lane=?)"],
    "claim": [
        "SCAN first VIRTUAL TABLE INDEX 1:",
        "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
        "SCAN (subquery-3)",
        "SCAN live",
        f"{BY_ROW} (rowid=?)",
    ],
    "lanes": ["SEARCH lanes USING INTEGER PRIMARY KEY (rowid>?)"],
    "required_now": ["SCAN l", "SEARCH jobs EXISTS USING COVERING INDEX jobs_ready (lane=?)"],
    "next_expiry": ["SEARCH jobs USING COVERING INDEX jobs_expiring (expires_at>?)"],
    "expired": ["SEARCH jobs USING COVERING INDEX jobs_expiring (expires_at<?)"],
    "claim_expired": ["SCAN first VIRTUAL TABLE INDEX 1:", f"{BY_ROW} (rowid=?)"],
    "free_key": ["SEARCH jobs USING INDEX jobs_unique (held_key=?)"],
    "replace": ["SEARCH jobs USING INDEX jobs_unique (held_key=?)"],
    "key_holder": ["SEARCH jobs USING INDEX jobs_unique (held_key=?)"],
    "settle": [f"{BY_ROW} (rowid=?)"],
    "promote": [f"{BY_ROW} (rowid=?)", f"{WAITING} (next_run_at<?)"],
    "next_due": ["SCAN CONSTANT ROW", WAITING, CHANGED],
    "count_of_arrays": [
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
        "SCAN one",
        "SEARCH jobs USING COVERING INDEX jobs_array (array_id=?)",
    ],
    "take_changes": [f"{BY_ROW} (rowid=?)", CHANGED],
    "give_places": [
        f"{BY_ROW} (rowid=?)",
        "SCAN one VIRTUAL TABLE INDEX 1:",
        "SEARCH k USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH w USING INTEGER PRIMARY KEY (rowid=?)",
        "SEARCH f USING COVERING INDEX jobs_key_lines (key=?)",
        "SEARCH u USING INDEX jobs_key_places (key=?)",
        *OF_READY_KEY,
        *OF_STARTED_KEY,
        "SEARCH k USING COVERING INDEX sqlite_autoindex_changed_keys_1 (key=?)",
    ],
    "add_key_starts": [
        "SCAN one VIRTUAL TABLE INDEX 1:",
        "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
        "SCAN own",
        *_step_of_starts("last", " AND number>?"),
    ],
    "next_key_due": [
        "SCAN CONSTANT ROW",
        "SEARCH rated_keys USING COVERING INDEX rated_keys_due (due>?)",
        "SEARCH rated_keys USING INDEX rated_keys_set",
    ],
    "note_due_keys": [
        "SEARCH rated_keys USING COVERING INDEX rated_keys_due (due>? AND due<?)",
        "SEARCH rated_keys USING INDEX rated_keys_set (<expr>>?)",
        "SCAN (subquery-2)",
    ],
    "bring_back_key_starts": [
        "SEARCH starts USING PRIMARY KEY (kind=? AND owner=?)",
        *OF_CHANGED_KEYS,
        "SEARCH s USING PRIMARY KEY (kind=? AND owner=?)",
    ],
    "unnumbered_starts": [
        *OF_CHANGED_KEYS,
        "SEARCH s USING PRIMARY KEY (kind=? AND owner=? AND number<?)",
        "SEARCH last USING PRIMARY KEY (kind=? AND owner=? AND number=?) LEFT-JOIN",
        "SEARCH m USING PRIMARY KEY (kind=? AND owner=? AND number>?)",
        "SCAN (subquery-3)",
    ],
    "forget_key_starts": [
        "SEARCH starts USING PRIMARY KEY (kind=? AND owner=? AND number=?)",
        *OF_CHANGED_KEYS,
        "SEARCH r USING PRIMARY KEY (key=?)",
        "SEARCH s USING PRIMARY KEY (kind=? AND owner=? AND number>? AND number<?)",
        "SEARCH f USING PRIMARY KEY (kind=? AND owner=? AND number>?)",
    ],
    "schedule_keys": [
        *OF_CHANGED_KEYS,
        "SEARCH rated_keys USING PRIMARY KEY (key=?)",
        *_step_of_starts("last", " AND number>?"),
        "SEARCH w USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        "SEARCH f USING COVERING INDEX jobs_key_lines (key=?)",
        *_step_of_starts("nth", " AND number>? AND number<?"),
        *OF_READY_KEY,
        *OF_READY_KEY,
    ],
    "forget_rated_keys": [
        "SEARCH rated_keys USING PRIMARY KEY (key=?)",
        *OF_CHANGED_KEYS,
        "SEARCH s USING PRIMARY KEY (kind=? AND owner=?)",
        *OF_READY_KEY,
    ],
    "time_waits": [
        "SCAN CONSTANT ROW",
        "SEARCH jobs USING INDEX jobs_waiting (next_run_at<?)",
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
    ],
    "rate_waits": [
        "SCAN CONSTANT ROW",
        "SCAN one VIRTUAL TABLE INDEX 1:",
        "SEARCH r USING COVERING INDEX rated_keys_lanes (lane=?)",
    ],
    "start_windows": [
        "SCAN one VIRTUAL TABLE INDEX 1:",
        "SEARCH q USING PRIMARY KEY (name=?)",
        *_step_of_starts("last"),
        *_step_of_starts("first"),
        *_step_of_starts("nth", " AND number<?"),
        "SEARCH l USING COVERING INDEX sqlite_autoindex_lanes_1 (queue=?)",
        "SEARCH j EXISTS USING COVERING INDEX jobs_ready (lane=?)",
    ],
    "add_starts": ["SCAN one VIRTUAL TABLE INDEX 1:", *_step_of_starts("last")],
    "forget_starts": [
        "SEARCH starts USING PRIMARY KEY (kind=? AND owner=? AND number=?)",
        "SCAN one VIRTUAL TABLE INDEX 1:",
        "SEARCH q USING PRIMARY KEY (name=?)",
        "SEARCH s USING PRIMARY KEY (kind=? AND owner=? AND number<?)",
        "SEARCH f USING PRIMARY KEY (kind=? AND owner=?)",
    ],
    "key_places": ["SEARCH jobs USING INDEX jobs_key_places (key=?)"],
    "key_users": [
        "SEARCH jobs USING INDEX jobs_key_places (key=?)",
        "SCAN (subquery-1)",
        "SEARCH jobs USING INDEX jobs_key_lines (key=?)",
        "SCAN (subquery-3)",
        "SEARCH jobs USING INDEX jobs_keyed (key=? AND <expr><?)",
        "SCAN (subquery-5)",
        "SCAN (subquery-6)",
    ],
    "running_claims": [BY_STATE, OF_ATTEMPTS],
    "cancel_requests": [BY_STATE, OF_ATTEMPTS],
    "prunable": ["SEARCH jobs USING INDEX jobs_by_state (state=? AND seq>?)"],
    "prunable_completed": [f"{BY_ROW} (rowid>?)"],
    "select": [f"{BY_ROW} (rowid>?)"],
    "select_state": ["SEARCH jobs USING INDEX jobs_by_state (state=? AND seq>?)"],
    "select_completed": [f"{BY_ROW} (rowid>?)"],
    "select_array": ["SEARCH jobs USING INDEX jobs_array (array_id=? AND rowid>?)"],
    "list_array": ["SEARCH jobs USING INDEX jobs_array (array_id=? AND rowid>?)"],
    "list_array_reverse": ["SEARCH jobs USING INDEX jobs_array (array_id=? AND rowid<?)"],
    "still": [f"{BY_ROW} (rowid=?)"],
    "find": [f"{BY_ID} (id=?)"],
    "find_prefix": [f"{BY_ID} (id>? AND id<?)"],
    "complete_jobs": [f"{BY_ID} (id>? AND id<?)"],
    "complete_newest": [f"{BY_ROW} (rowid<?)"],
    "complete_state": ["SEARCH jobs USING INDEX jobs_by_state (state=?)"],
    "list": [f"{BY_ROW} (rowid>?)"],
    "list_reverse": [f"{BY_ROW} (rowid<?)"],
    "list_state": ["SEARCH jobs USING INDEX jobs_by_state (state=? AND seq>?)"],
    "list_state_reverse": ["SEARCH jobs USING INDEX jobs_by_state (state=? AND seq<?)"],
    "list_completed": [f"{BY_ROW} (rowid>?)"],
    "list_completed_reverse": [f"{BY_ROW} (rowid<?)"],
    "status": ["SCAN counts"],
    "counts": ["SCAN counts"],
    "newest_runs": [
        "SEARCH a USING INDEX attempts_ended (ended_at>? AND ended_at<?)",
        "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "completed_since": [
        "SEARCH attempts USING COVERING INDEX attempts_ended (ended_at>? AND ended_at<?)"
    ],
    "overdue": ["SEARCH jobs USING INDEX jobs_waiting (next_run_at<?)"],
    "store_output": [f"{BY_ROW} (rowid=?)"],
    "schedule_jobs": [f"{FIRED_LIVE} (schedule=?)"],
    "schedule_fired": [
        "SEARCH jobs USING COVERING INDEX jobs_fired (schedule=? AND scheduled_at=?)"
    ],
    "schedules_due": [
        "SEARCH s USING INDEX schedules_due (next_at<?)",
        "SEARCH j USING INDEX jobs_fired_live (schedule=?)",
    ],
}
# The tables that may be read whole.
SMALL = {"clock", "counts", "settings", "instances", "drained_hosts", "w", "p", "l", "first"}
SMALL |= {"queues", "r", "ready", "wrong", "found"}  # r and ready are of lanes
SMALL |= {"live", "(subquery-1)", "(subquery-3)", "(subquery-5)", "(subquery-6)"}  # have a limit
SMALL |= {"changed_keys", "one", "6-ROW"}  # the kinds of conditions
SMALL |= {"signals", "s", "sqlite_sequence", "CONSTANT", "json_each", "run_totals", "schedules"}
# The same for single statements; `d` is of the new conditions.
WHOLE = {
    "shift_retries": {"jobs"},
    "shift_starts": {"starts"},
    "shift_keys": {"rated_keys"},
    "changed_keys": {"k"},
    "add_key_starts": {"own"},
    "note_due_keys": {"(subquery-2)"},
    "unnumbered_starts": {"(subquery-3)"},
    "add_dependencies": {"d", "one"},
    "await_jobs": {"one"},
}
BY_HAND = ("check_", "stats_")  # a person asks, once: they may read all


@pytest.fixture
def connection(path: str) -> Iterator[apsw.Connection]:
    """A migrated database, seen directly."""
    database = Database(path, BusyHandler(10), upgrade.migrate)
    yield database._connection
    database.close()


def _names(name: str) -> set[str]:
    """The parameters of a statement."""
    return set(re.findall(r":(\w+)", SQL[name]))


def _plan(connection: apsw.Connection, name: str) -> list[str]:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", dict.fromkeys(_names(name)))
    return [str(row[3]) for row in rows]


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_block_is_one_valid_statement(connection: apsw.Connection, name: str) -> None:
    assert ";" not in SQL[name]
    assert sqlite3.complete_statement(f"{SQL[name]};")
    _plan(connection, name)


@pytest.mark.parametrize("name", [name for name in STATEMENTS if not name.startswith(BY_HAND)])
def test_no_statement_reads_a_table_that_grows(connection: apsw.Connection, name: str) -> None:
    scanned = {step.split()[1] for step in _plan(connection, name) if step.startswith("SCAN ")}
    assert scanned <= SMALL | WHOLE.get(name, set())


@pytest.mark.parametrize("name", PLANS)
def test_a_hot_statement_goes_by_its_index(connection: apsw.Connection, name: str) -> None:
    steps = [step for step in _plan(connection, name) if step.startswith(("SCAN", "SEARCH"))]
    children = (  # the plan of ON DELETE CASCADE
        "SEARCH attempts USING PRIMARY KEY",
        "SEARCH inputs USING INTEGER PRIMARY KEY",
        "SEARCH signals USING COVERING INDEX signals_by_job",
        "SEARCH dependencies USING",
    )
    column = "SEARCH l USING INTEGER PRIMARY KEY"  # of {job}: what the job requires
    last_run = (OF_ATTEMPTS, "SCAN json_each VIRTUAL TABLE")  # of {matches}
    parts = (*children, column, *(last_run if "command GLOB" in SQL[name] else ()))
    assert [step for step in steps if not step.startswith(parts)] == PLANS[name]


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_is_used(name: str) -> None:
    files = [*SOURCE.rglob("*.py"), *SOURCE.parent.glob("*.py")]
    code = "".join(path.read_text("utf-8") for path in files)
    stem = re.sub("^(list|select)_.*", r"\1", name)  # see selecting.py for the rest of these names
    assert f'"{stem}"' in code


def test_a_filter_by_queue_and_state_reads_no_row_of_another_queue(path: str) -> None:
    store = SqliteStore(path)
    others = [NewJob("x" * 2000, queue="other")] * 2000
    store.enqueue([NewJob("true"), *others], max_retries=3, now_ms=NOW)
    store.close()
    store = SqliteStore(path)
    assert len(list(store.list(JobFilter((Label.PENDING,), "default")))) == 1
    read = store._database._connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0]
    store.close()
    assert read < 100, "pages; the rows of the others have 1000"


def _steps(database: Database, name: str, **values: int | str) -> int:
    """How many instructions of SQLite's machine a statement takes."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    database._connection.set_progress_handler(count, 1)
    try:
        database.rows(name, **values)
    finally:
        database._connection.set_progress_handler(None)
    return steps


def test_the_work_stays_flat_as_the_queue_grows(path: str) -> None:
    store, ledger = SqliteStore(path), SqliteLedger(path, BusyHandler(10))
    database = ledger._database
    measured = []
    for many in (200, 5000):
        future = [NewJob("true", priority=9, delay_ms=60_000)] * many
        ready = [NewJob("true", priority=priority % 3) for priority in range(many)]
        others = [NewJob("true", priority=9, requires="host:other")] * (20 * many)
        store.enqueue([*future, *ready, *others], max_retries=3, now_ms=NOW)
        with ledger.transaction():
            measured.append(
                {
                    "first_ready": _steps(database, "first_ready", lane=0, count=3),
                    "required_now": _steps(database, "required_now"),
                    "claim": _steps(database, "claim", token=7, jobs="[1,2,3]", now=NOW, idle=3),
                    "next_key_due": _steps(database, "next_key_due"),
                    "next_due": _steps(database, "next_due"),
                    "promote": _steps(database, "promote", now=NOW, limit=100),
                    "status": _steps(database, "status"),
                    "oldest_ready": _steps(database, "oldest_ready"),
                    "oldest_due": _steps(database, "oldest_due", now=NOW),
                    "cancel_requests": _steps(database, "cancel_requests", instance=0),
                }
            )
    store.close()
    ledger.close()
    small, large = measured
    assert small.keys() == {name for name in small if large[name] <= small[name] * 1.5 + 20}


def test_the_work_of_a_rate_stays_flat_as_keys_and_lines_grow(path: str) -> None:
    store, ledger = SqliteStore(path), SqliteLedger(path, BusyHandler(10))
    database = ledger._database
    rate: dict[str, Any] = {"key_limit": 1000, "key_rate": Rate(2, 60_000)}
    measured = []
    for many in (100, 3000):
        keys = [NewJob("true", key=f"k{many}-{n}", **rate) for n in range(many)] * 2
        line = [NewJob("true", key="long", **rate)] * many
        store.enqueue([*line, *keys], max_retries=3, now_ms=NOW)
        with ledger.transaction():
            ledger.promote(now_ms=NOW, limit=9 * many)
            ledger.claim("i", [1] * 9 * many, 77, now_ms=NOW)
            ledger.promote(now_ms=NOW, limit=9)
        with ledger.transaction():
            values: dict[str, int | str] = {"keys": "[1]", "now": NOW + 1}
            database._connection.execute("INSERT INTO changed_keys VALUES (1, 'long')")
            measured.append(
                {
                    name: _steps(database, name, **{n: values[n] for n in _names(name)})
                    for name in (
                        *("next_key_due", "bring_back_key_starts", "unnumbered_starts"),
                        *("give_places", "rate_keys", "forget_key_starts", "schedule_keys"),
                        *("forget_rated_keys", "forget_changed_keys"),
                    )
                }
            )
    store.close()
    ledger.close()
    small, large = measured
    assert small.keys() == {name for name in small if large[name] <= small[name] * 1.5 + 20}


def test_no_step_of_telling_dependents_reads_those_that_were_told(path: str) -> None:
    store, ledger = SqliteStore(path), SqliteLedger(path, BusyHandler(10))
    (name,) = store.enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
    dependents = [NewJob("true", after=(name,)), NewJob("true", after_any=(name,))] * 1000
    store.enqueue(dependents, max_retries=3, now_ms=NOW)
    store.cancel(1, now_ms=NOW)
    with ledger.transaction():
        mark = partial(_steps, ledger._database, "mark_dependencies", jobs="[1]", limit=10)
        steps = [mark() for _ in range(200)]
    store.close()
    ledger.close()
    assert max(steps[10:]) <= steps[0] * 1.5


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(file.name for file in (SOURCE / "migrations").iterdir())
    assert [int(name.split("_")[0]) for name in names] == list(range(1, schema.latest() + 1))


def test_every_table_is_strict(connection: apsw.Connection) -> None:
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
    loose = {name for name, strict in tables if not strict}
    assert loose == {"sqlite_schema", "sqlite_sequence"}, "both are tables of SQLite"


def test_the_promises_settings_of_a_connection(connection: apsw.Connection) -> None:
    pragmas = ["journal_mode", "synchronous", "foreign_keys", "application_id", "user_version"]
    full = 2
    assert [connection.pragma(name) for name in pragmas] == [
        *("wal", full, 1),
        *(schema.APPLICATION_ID, schema.latest()),
    ]


def test_a_turn_waits_for_the_disk_unless_it_says_that_it_need_not(path: str) -> None:
    database = Database(path, BusyHandler(10), upgrade.migrate)
    waits = []
    for durable in (True, False, True):
        with database.transaction(durable=durable):
            waits.append(database._connection.pragma("synchronous"))
    database.close()
    normal, full = 1, 2
    assert waits == [full, normal, full]


def test_the_constraints_state_the_invariants(connection: apsw.Connection) -> None:
    insert = (
        "INSERT INTO jobs (id, queue, priority, command, options, state, ready, next_run_at,"
        " attempts, max_retries, runs, token, cancel_requested_at, created_at, updated_at)"
        " VALUES (:id, 'q', 0, :command, :options, :state, :ready, 0, :attempts, 3, :runs, :token,"
        " :cancel, 0, 0)"
    )
    good = {"id": "a", "options": "{}", "state": "pending", "ready": 1, "attempts": 0, "runs": 0}
    good |= {"token": None, "cancel": None, "command": "\u00e9" * 65535}
    bad: list[dict[str, object]] = [
        {"id": ""},
        {"id": "x" * 65},
        {"options": "{"},
        {"state": "failed", "ready": 0},
        {"state": "completed"},
        {"attempts": 1},
        {"attempts": -1},
        {"token": 7},
        {"state": "processing", "ready": 0},
        {"cancel": 1},
        {"ready": 2},
        {"options": "[]"},
        {"options": "7"},
        {"command": ""},
        {"command": "a\0b"},
        {"command": "\u00e9" * 65536},
        {"runs": 2**63 - 1},
        {"runs": 1_000_000_000},
    ]
    for change in bad:
        with pytest.raises(apsw.ConstraintError):
            connection.execute(insert, good | change)
    connection.execute(insert, good)
