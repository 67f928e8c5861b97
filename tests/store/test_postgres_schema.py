"""PostgreSQL: the schema, the statements, and that the hot ones go by their index."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from queued.core.errors import (
    ConfigError,
    DatabaseUnusableError,
    NotFoundError,
    StorageError,
    UsageError,
)
from queued.store import sql_blocks
from queued.store.postgres import address, sql_loader, upgrade
from queued.store.postgres.client_store import PostgresStore
from tests import postgres_server

SQL = sql_loader.load("queued")
LISTS = {
    "job",
    "run",
    "matches",
    "unexpired",
    "queue_columns",
    "instance_columns",
    "clock",
    "clock_ms",
    "turn_ms",
    "history",
}
LISTS |= {
    "schedule",
    "schedule_waits",
    "condition_status",
    "awaited_jobs",
    "first_in_line",
    "started_in_window",
    "ready_ranks",
}  # parts
CONTROL = {"begin", "session", "snapshot", "make_schema", "notify_hungry", "notify_all"}  # no plan
SOURCE = Path(sql_loader.__file__).parent
WHOLE = sql_blocks.read(str(SOURCE / "maintenance/queries.sql")).keys()  # read whole tables
STATEMENTS = sorted(SQL.keys() - LISTS - CONTROL - WHOLE)

# The indexes by which each hot statement goes, and nothing else.
PLANS = {
    "enqueue": {"lanes_queue_requires_key"},
    "lanes": {"lanes_pkey"},
    "required_now": {"jobs_ready"},  # the lanes are read whole: they are few
    "claim": {"instances_pkey", "queues_pkey", "jobs_ready", "jobs_pkey", "meta_pkey"},
    "settle": {"jobs_pkey", "attempts_pkey"},
    "store_output": {"jobs_pkey"},
    "promote": {"jobs_waiting", "jobs_pkey"},
    "count_of_arrays": {"jobs_array"},
    "take_changes": {"jobs_changed", "jobs_pkey"},
    "mark_dependencies": {"jobs_pkey", "dependencies_unmet"},
    "move_dependents": {"jobs_pkey", "dependencies_of"},
    "renew_idle": {
        *("instances_pkey", "meta_pkey", "jobs_ready", "jobs_waiting", "jobs_expiring"),
        *("jobs_changed", "lanes_pkey", "schedules_due", "changed_keys_pkey"),
        *("rated_keys_set", "rated_keys_due"),
    },
    "next_times": {
        *("jobs_waiting", "jobs_changed", "jobs_expiring", "changed_keys_pkey"),
        *("rated_keys_set", "rated_keys_due"),
    },
    "take_changed_keys": {"changed_keys_pkey", "rated_keys_pkey"},
    "take_due_keys": {"rated_keys_due", "rated_keys_set", "rated_keys_pkey"},
    "bring_back_key_starts": {"starts_pkey"},
    "number_starts": {"starts_pkey"},
    "rate_keys": {"jobs_key_places", "jobs_key_lines"},
    "forget_key_starts": {"rated_keys_pkey", "starts_pkey"},
    "schedule_keys": {"jobs_key_places", "jobs_key_lines", "starts_pkey", "rated_keys_pkey"},
    "forget_rated_keys": {"rated_keys_pkey", "starts_pkey", "jobs_key_places"},
    "next_key_due": {"rated_keys_due"},
    "time_waits": {"jobs_waiting"},
    "rate_waits": {"rated_keys_lanes"},
    "key_window": {"rated_keys_pkey", "jobs_key_lines"},
    "take_places_back": {"jobs_key_lines", "jobs_key_places", "jobs_pkey"},
    "give_places": {"jobs_key_lines", "jobs_key_places", "jobs_pkey", "starts_pkey"},
    "key_places": {"jobs_key_places"},
    "start_windows": {"queues_pkey", "starts_pkey", "lanes_queue_requires_key", "jobs_ready"},
    "add_starts": {"starts_pkey"},
    "forget_starts": {"queues_pkey", "starts_pkey"},
    "claim_expired": {"jobs_expiring", "jobs_pkey"},
    "running_claims": {"jobs_by_state", "attempts_pkey"},
    "cancel_requests": {"jobs_by_state", "attempts_pkey"},
    "prunable": {"jobs_by_state"},
    "prunable_completed": {"jobs_pkey"},
    "lock_ended": {"jobs_pkey"},
    "find": {"jobs_id_key"},
    "find_prefix": {"jobs_id_key"},
    "list": {"jobs_pkey", "lanes_pkey", "attempts_pkey"},
    "list_reverse": {"jobs_pkey", "lanes_pkey", "attempts_pkey"},
    "list_state": {"jobs_by_state", "lanes_pkey", "attempts_pkey"},
    "list_state_reverse": {"jobs_by_state", "lanes_pkey", "attempts_pkey"},
    "list_completed": {"jobs_pkey", "lanes_pkey", "attempts_pkey"},
    "list_completed_reverse": {"jobs_pkey", "lanes_pkey", "attempts_pkey"},
    "select": {"jobs_pkey", "attempts_pkey"},
    "select_state": {"jobs_by_state", "attempts_pkey"},
    "select_completed": {"jobs_pkey", "attempts_pkey"},
    "select_array": {"jobs_array", "attempts_pkey"},
    "list_array": {"jobs_array", "lanes_pkey", "attempts_pkey"},
    "list_array_reverse": {"jobs_array", "lanes_pkey", "attempts_pkey"},
    "still": {"jobs_pkey", "attempts_pkey"},
    "newest_runs": {"attempts_ended", "jobs_pkey"},
    "completed_since": {"attempts_ended"},
    "overdue": {"jobs_waiting"},
    "oldest_due": {"lanes_pkey", "jobs_ready", "jobs_waiting"},
    "oldest_ready": {"lanes_pkey", "jobs_ready"},
    "fold": {"deltas_pkey"},
    "schedule_jobs": {"jobs_fired_live"},
    "schedule_fired": {"jobs_fired"},
    "schedules_due": {"schedules_due", "jobs_fired_live"},
    "schedules_next": {"schedules_due", "jobs_fired_live"},
}
FILL = """
INSERT INTO queued.jobs (id, queue, priority, command, options, state, ready, next_run_at, attempts,
                         max_retries, runs, token, created_at, updated_at)
SELECT 'j' || n, 'q' || n % 5, n % 3, 'true', '{}',
       (ARRAY['dead', 'processing', 'pending', 'completed'])[least(n % 40 + 1, 4)], n % 80 = 2,
       n, 0, 3, 1, CASE WHEN n % 40 = 1 THEN n END, n, n FROM generate_series(1, 100000) AS n;
INSERT INTO queued.attempts (job, number, instance, worker, token, started_at)
SELECT seq, 1, 'i', 1, seq, 1 FROM queued.jobs;
INSERT INTO queued.output SELECT seq, 1, 1, 0, 'x' FROM queued.jobs;
INSERT INTO queued.dependencies SELECT seq, seq + 1, 'after', 'waiting' FROM queued.jobs;
"""
IN_FRONT = """
INSERT INTO queued.lanes VALUES (1, 'q', 'host:other'), (2, 'q', 'gpu');
INSERT INTO queued.jobs (id, queue, priority, lane, command, options, state, ready, next_run_at,
                         attempts, max_retries, runs, created_at, updated_at)
SELECT 'x' || n, 'q', 9, CASE WHEN n % 10000 = 0 THEN n % 3 ELSE 1 END, 'true', '{}', 'pending',
       true, n, 0, 3, 0, n, n
FROM generate_series(1, 100000) AS n;
"""
Plans = dict[str, list[str]]


@pytest.fixture(scope="module")
def plans() -> Iterator[list[Plans]]:
    """The plans of all statements with 100,000 jobs: without statistics, and with them."""
    url = postgres_server.fresh_schema()
    upgrade.migrate(url)
    where = address.parse(url)
    with psycopg.connect(where.conninfo, autocommit=True, prepare_threshold=None) as server:
        server.execute(sql_loader.in_schema(FILL, where.schema).encode())
        found = [_plans(server, where.schema)]
        server.execute("ANALYZE")
        yield [*found, _plans(server, where.schema)]
        server.execute(f'DROP SCHEMA "{where.schema}" CASCADE'.encode())


def _plans(server: psycopg.Connection[Any], schema_name: str) -> Plans:
    statements = sql_loader.load(schema_name)
    server.execute("DEALLOCATE ALL")
    with server.transaction():
        server.execute(statements["begin"].split(";", 1)[1].encode())
        return {name: _plan(server, name, statements[name]) for name in STATEMENTS}


def test_a_claim_reads_no_job_of_another_host() -> None:
    url = postgres_server.fresh_schema()
    upgrade.migrate(url)
    where = address.parse(url)
    with psycopg.connect(where.conninfo, autocommit=True, prepare_threshold=None) as server:
        server.execute(sql_loader.in_schema(IN_FRONT, where.schema).encode())
        values = {"instance": "i", "workers": [1] * 9, "count": 9, "idle": 9, "token": 1, "now": 1}
        values |= {"queues": ["q"], "counts": [9], "mosts": [-1], "rooms": [-1], "parts": [1, 1]}
        values |= {"rates": [-1]}
        values |= {"lanes": [0, 2], "ranks": [-99] * 2, "dues": [0] * 2, "afters": [0] * 2}
        statements = sql_loader.load(where.schema)
        with server.transaction(force_rollback=True):
            server.execute(statements["begin"].split(";", 1)[1].encode())
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statements['claim']}".encode()
            (found,) = server.execute(explain, values).fetchone() or ()
        server.execute(f'DROP SCHEMA "{where.schema}" CASCADE'.encode())
    plan = found[0]["Plan"]
    assert plan["Actual Rows"] == 6
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 1000


def _plan(server: psycopg.Connection[Any], name: str, statement: str) -> list[str]:
    """The steps of the plan that does not depend on the values, which prepared statements get."""
    names = [*dict.fromkeys(re.findall(r"%\((\w+)\)s", statement))]
    text = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
    server.execute(f"PREPARE {name}_plan AS {text}".encode())
    values = f"({', '.join(['NULL'] * len(names))})" if names else ""
    return [row[0] for row in server.execute(f"EXPLAIN EXECUTE {name}_plan{values}".encode())]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_a_table_that_grows(plans: list[Plans], name: str) -> None:
    for found in plans:
        read_whole = re.findall(r"Seq Scan on (\w+)", "\n".join(found[name]))
        grow = {"jobs", "attempts", "output"}
        assert grow.isdisjoint(read_whole), "\n".join(found[name])


@pytest.mark.parametrize("name", PLANS)
def test_a_hot_statement_goes_by_its_index(plans: list[Plans], name: str) -> None:
    for found in plans:
        text = "\n".join(found[name])
        assert set(re.findall(r"Scan (?:Backward )?using (\w+)", text)) == PLANS[name], text
        assert not re.search(r"Bitmap|Hash Join|Merge Join", text), text


def test_places_are_given_in_a_time_that_grows_with_their_number(plans: list[Plans]) -> None:
    """With another condition a step would read all lines, and a filter all jobs for each job."""
    for found in plans:
        text = "\n".join(found["give_places"])
        conditions = re.findall(r"using jobs_key_lines .*\n +Index Cond: (.*)", text)
        assert conditions == ["(key = k.key)"] * 2, text
        assert "Join Filter" not in text, text


@pytest.mark.parametrize("name", sorted(SQL.keys() - LISTS))
def test_every_statement_is_used(name: str) -> None:
    files = [*SOURCE.rglob("*.py"), *SOURCE.parent.glob("*.py")]
    code = "".join(path.read_text("utf-8") for path in files)
    stem = re.sub("^(list|select)_.*", r"\1", name)  # see selecting.py for the rest of these names
    assert f'"{stem}"' in code


@pytest.mark.parametrize("name", ["list_state", "list_state_reverse", "select_state"])
def test_a_filter_by_queue_and_state_reads_no_row_of_another_queue(
    plans: list[Plans], name: str
) -> None:
    for found in plans:
        (condition,) = [step for step in found[name] if "Index Cond: ((state" in step]
        assert "queue >=" in condition


def test_an_upgrade_is_made_once_and_a_newer_schema_is_refused() -> None:
    url = postgres_server.fresh_schema()
    with pytest.raises(NotFoundError, match="has no queue yet"):
        PostgresStore(url)
    upgrade.migrate(url)
    upgrade.migrate(url)
    where = address.parse(url)
    with psycopg.connect(where.conninfo, autocommit=True) as server:
        newer = "UPDATE queued.meta SET schema = schema + 1, works_from = works_from + 1"
        server.execute(sql_loader.in_schema(newer, where.schema).encode())
        with pytest.raises(DatabaseUnusableError, match="upgrade queued on this machine"):
            upgrade.migrate(url)
        with pytest.raises(DatabaseUnusableError, match="upgrade queued on this machine"):
            PostgresStore(url)
        server.execute(f'DROP SCHEMA "{where.schema}" CASCADE'.encode())


def test_a_database_of_another_encoding_is_refused() -> None:
    server = postgres_server.url()
    postgres_server.fresh_schema()
    assert server is not None
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(ConfigError, match="encoding LATIN1"):
        upgrade.migrate(re.sub(r"/tests_\d+", "/latin", server))


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        ("postgresql://u:secret@h:5433/d", "postgresql://u@h:5433/d", "queued"),
        ("postgres://a,b/d?schema=other&sslmode=require", "postgres://a,b/d?schema=other", "other"),
        ("postgresql:///d?host=/run/x%20y&password=secret", "postgresql:///d", "queued"),
        ("postgresql://u@a:1,b:2/d", "postgresql://u@a:1,b:2/d", "queued"),
        ("postgresql:///d?host=/run/a,/run/b", "postgresql:///d", "queued"),
    ],
)
def test_an_address_is_shown_without_secrets(url: str, shown: str, name: str) -> None:
    where = address.parse(url)
    assert (where.shown, where.schema) == (shown, name)
    assert "schema=" not in where.conninfo
    assert ("target_session_attrs" in where.conninfo) is ("," in url), "of several the primary"
    assert psycopg.conninfo.conninfo_to_dict(where.conninfo)["dbname"] == "d"


@pytest.mark.parametrize("name", ["", "Big", "a-b", 'a"b', "x" * 64])
def test_a_schema_has_a_plain_name(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a schema"):
        address.parse(f"postgresql:///d?schema={name}")


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://u@db/q", "require"),
        ("postgresql://u@db1:1,db2:2/q", "require"),
        ("postgresql://u@[2001:db8::1]:5432/q", "require"),
        ("postgresql://u@localhost,db/q", "require"),
        ("postgresql://u@localhost/q?hostaddr=10.0.0.1", "require"),
        ("postgresql://u@db/q?sslmode=verify-full", "verify-full"),
        ("postgresql://u@db/q?sslmode=disable", "disable"),
        ("postgresql://u@localhost/q", None),
        ("postgresql://u@[::1]:5432/q", None),
        ("postgresql://%2Frun%2Fpostgresql/q", None),
        ("postgresql:///q?host=/run/postgresql", None),
        ("postgresql://db/q?sslmode=prefer", "refused"),
        ("postgresql://db/q?sslmode=allow", "refused"),
        ("postgresql:///q?service=queue", "refused"),
        ("postgresql:///q?service=queue&sslmode=require", "require"),
    ],
)
def test_a_connection_to_another_host_is_encrypted(url: str, mode: str | None) -> None:
    if mode == "refused":
        with pytest.raises(UsageError, match="sslmode=verify-full"):
            address.parse(url)
    else:
        given = psycopg.conninfo.conninfo_to_dict(address.parse(url).conninfo)
        assert given.get("sslmode") == mode


@pytest.mark.parametrize("separator", ["/", "#", "?", "%", " ", "@x/"])
def test_a_password_with_a_wrong_character_is_not_shown(separator: str) -> None:
    with pytest.raises(UsageError, match="not the URL of a database") as error:
        address.parse(f"postgresql://u:se{separator}cret@h/d")
    assert "cret" not in str(error.value)


def test_a_server_that_refuses_encryption_gets_no_password() -> None:
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with server.accept()[0] as client:
                client.recv(8)  # the request for encryption
                client.sendall(b"N")
                got.append(client.recv(99))

        thread = threading.Thread(target=refuse)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(StorageError, match="no encrypted connection.*see sslmode"):
            PostgresStore(f"postgresql://u:secret@127.0.0.1:{port}/d?sslmode=require")
        thread.join()
    assert got == [b""]
