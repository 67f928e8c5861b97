"""PostgreSQL: what the members of each role may do, and databases that a service refuses."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest

from queued.core.errors import DeniedError, DuplicateJobError, NotFoundError
from queued.core.job_changes import job_changes
from queued.core.model import Label, NewJob, State
from queued.core.records import JobFilter
from queued.core.schedules import new_schedule
from queued.store.postgres import address, safety, sql_loader, upgrade
from queued.store.postgres.client_store import PostgresStore
from tests import postgres_server
from tests.store.engine import NOW, purge, retry_all

FORGED = """
INSERT INTO queued.jobs (id, queue, priority, command, options, state, ready, next_run_at, attempts,
                         max_retries, runs, created_at, updated_at)
VALUES ('x', 'default', 0, 'true', '{}', 'completed', false, 0, 0, 0, 0, 0, 0)"""
PENDING = """
INSERT INTO queued.jobs (id, queue, lane, priority, command, options, state, ready, next_run_at,
                         attempts, max_retries, runs, created_at, updated_at)
VALUES (gen_random_uuid(), '{}', {}, 0, 'true', '{{}}', 'pending', true, 0, 0, 0, 0, 0, 0)"""
# Its wait would not fit into a column.
EARLY = """
INSERT INTO queued.jobs (id, queue, priority, command, options, state, ready, next_run_at, attempts,
                         max_retries, runs, created_at, updated_at)
VALUES ('x', 'default', 0, 'true', '{}', 'pending', true, -9223372036854775808, 0, 0, 0,
        -9223372036854775808, 0)"""
ROLES = ("reader", "enqueuer", "operator", "service")


class RoleQueue:
    """A queue with a user for each role, and the users anna, who has another one, and nobody."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.schema = address.parse(url).schema
        upgrade.migrate(url)
        for user in (*ROLES, "anna", "nobody"):
            self.sql(f"CREATE ROLE {self.user(user)} LOGIN")
        for role in ROLES:
            self.sql(f"GRANT {self.schema}_{role} TO {self.user(role)}")
        self.sql(f"GRANT {self.schema}_enqueuer TO {self.user('anna')}")

    def user(self, name: str) -> str:
        return f"{self.schema}_u_{name}"

    def url_of(self, name: str) -> str:
        return self.url.replace("tester@", f"{self.user(name)}@")

    def sql(self, text: str, user: str = "") -> list[Any]:
        where = address.parse(self.url_of(user) if user else self.url)
        with psycopg.connect(where.conninfo, autocommit=True) as server:
            cursor = server.execute(sql_loader.in_schema(text, self.schema).encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def roles() -> RoleQueue:
    return RoleQueue(postgres_server.fresh_schema())


@pytest.fixture
def as_user(roles: RoleQueue) -> Iterator[Callable[[str], PostgresStore]]:
    """Opens the queue as a user; jobs are removed at the end."""
    opened: list[PostgresStore] = []

    def open_as(user: str) -> PostgresStore:
        opened.append(PostgresStore(roles.url_of(user)))
        return opened[-1]

    yield open_as
    for store in opened:
        store.close()
    roles.sql("DELETE FROM queued.jobs")


Open = Callable[[str], PostgresStore]


def enqueue(store: PostgresStore, command: str = "true") -> int:
    job = NewJob(command, requires=f"label{os.urandom(4).hex()}")  # a new lane, too
    return store.find(store.enqueue([job], max_retries=3, now_ms=NOW)[0])


def purge_one(store: PostgresStore) -> None:
    with suppress(DeniedError):
        store.cancel(enqueue(store), now_ms=NOW)
    purge(store, Label.CANCELLED)


def add_schedule(store: PostgresStore) -> None:
    name = f"s{os.urandom(4).hex()}"
    store.schedules.add(new_schedule(name, "@daily", "UTC", {"command": "x"}), now_ms=NOW)


# The roles whose members may use a verb on a job of another user, and the verb.
VERBS: dict[str, tuple[set[str], Callable[[PostgresStore, int], object]]] = {
    "list": ({*ROLES}, lambda store, _: list(store.list(JobFilter()))),
    "status": ({*ROLES}, lambda store, _: store.status(now_ms=NOW)),
    "workers": ({*ROLES}, lambda store, _: store.workers()),
    "config": ({*ROLES}, lambda store, _: store.config()),
    "enqueue": ({"enqueuer", "operator", "service"}, lambda store, _: enqueue(store)),
    "cancel": ({"operator", "service"}, lambda store, job: store.cancel(job, now_ms=NOW)),
    "retry": ({"operator", "service"}, lambda store, job: store.retry([job], now_ms=NOW)),
    "retry_all": (
        {"enqueuer", "operator", "service"},
        lambda store, _: retry_all(store),
    ),
    "purge": (
        {"operator", "service"},
        lambda store, _: purge_one(store),
    ),
    "purge_nothing": (
        {"operator", "service"},
        lambda store, _: purge(store, Label.COMPLETED),
    ),
    "config_set": ({"operator"}, lambda store, _: store.config_set("lease", "60", now_ms=NOW)),
    "config_unset": ({"operator"}, lambda store, _: store.config_unset("lease")),
    "drain": ({"operator"}, lambda store, _: store.drain("host", now_ms=NOW)),
    "resume": ({"operator"}, lambda store, _: store.resume("host")),
    "queues": ({*ROLES}, lambda store, _: store.queues.all()),
    "queue_pause": ({"operator"}, lambda store, _: store.queues.change("q", paused_ms=NOW)),
    "schedules.add": ({"operator", "service"}, lambda store, _: add_schedule(store)),
    "stop": ({"operator", "service"}, lambda store, _: store.stop("i", now_ms=NOW)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_works_or_is_refused_with_the_role_that_it_needs(
    roles: RoleQueue, as_user: Open, verb: str
) -> None:
    allowed, act = VERBS[verb]
    for role in ROLES:
        job = enqueue(as_user("anna"))
        if verb == "retry":
            as_user("anna").cancel(job, now_ms=NOW)
        if role in allowed:
            act(as_user(role), job)
            continue
        if role == "enqueuer" and verb in {"cancel", "retry"}:
            with pytest.raises(NotFoundError):
                as_user(role).show(job)  # it does not see the jobs of others
            continue
        with pytest.raises(DeniedError, match=f"needs the role {roles.schema}_") as refused:
            act(as_user(role), job)
        assert f"TO {roles.user(role)}" in str(refused.value)
    with pytest.raises(DeniedError, match=f"GRANT {roles.schema}_reader TO {roles.user('nobody')}"):
        as_user("nobody")


def test_an_enqueuer_sees_and_moves_its_own_jobs_only(roles: RoleQueue, as_user: Open) -> None:
    anna, other = as_user("anna"), as_user("enqueuer")
    job, foreign = enqueue(anna), enqueue(other)
    assert [found.submitted_by for found in anna.list(JobFilter())] == [roles.user("anna")]
    assert {found.submitted_by for found in as_user("reader").list(JobFilter())} == {
        roles.user("anna"),
        roles.user("enqueuer"),
    }
    with pytest.raises(NotFoundError):
        anna.show(foreign)
    assert anna.cancel(job, now_ms=NOW) is State.CANCELLED
    assert anna.retry([job], now_ms=NOW) == [anna.show(job).id]
    assert anna.cancel(foreign, now_ms=NOW) is None
    roles.sql(f"GRANT {roles.schema}_reader TO {roles.user('anna')}")
    with pytest.raises(DeniedError, match=f"submitted by {roles.user('enqueuer')}.*_operator"):
        anna.cancel(foreign, now_ms=NOW)
    roles.sql(f"REVOKE {roles.schema}_reader FROM {roles.user('anna')}")


def test_an_enqueuer_reads_and_gives_inputs_of_its_own_jobs_only(
    roles: RoleQueue, as_user: Open
) -> None:
    (name,) = as_user("enqueuer").enqueue(
        [NewJob("cat", stdin=b"secret")], max_retries=3, now_ms=NOW
    )
    foreign, own = as_user("enqueuer").find(name), enqueue(as_user("anna"))
    read = {user: as_user(user).edits.input(foreign) for user in ("enqueuer", "reader", "operator")}
    assert read == dict.fromkeys(read, b"secret")
    assert as_user("anna").edits.input(foreign) == b""
    other = enqueue(as_user("enqueuer"))
    for user in ("anna", "operator"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            roles.sql(f"INSERT INTO queued.inputs (job, content) VALUES ({other}, 'x')", user)  # noqa: S608 - a number
    roles.sql(f"INSERT INTO queued.inputs (job, content) VALUES ({own}, 'x')", "anna")  # noqa: S608 - a number
    for change in ("UPDATE queued.inputs SET content = ''", "DELETE FROM queued.inputs"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            roles.sql(change, "enqueuer")


def test_an_enqueuer_signals_its_own_jobs_only(roles: RoleQueue, as_user: Open) -> None:
    foreign = enqueue(as_user("enqueuer"))
    request = f"INSERT INTO queued.signals (job, number, name) VALUES ({foreign}, 1, 'USR1')"  # noqa: S608 - a number
    for user in ("anna", "reader"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            roles.sql(request, user)
    for user in ("enqueuer", "operator"):
        roles.sql(request, user)
    count = "SELECT count(*) FROM queued.signals"
    assert [roles.sql(count, user) for user in ("enqueuer", "anna")] == [[(2,)], [(0,)]]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.sql("DELETE FROM queued.signals", "enqueuer")


def test_an_id_of_a_job_that_a_user_does_not_see_is_taken(as_user: Open) -> None:
    taken = NewJob("true", "theirs", unique_key="key")
    as_user("enqueuer").enqueue([taken._replace(unique_key=None)], max_retries=3, now_ms=NOW)
    new, anna = [NewJob("true", "mine"), taken], as_user("anna")
    with pytest.raises(DuplicateJobError, match="'theirs'") as refused:
        anna.enqueue(new, max_retries=3, now_ms=NOW)
    assert refused.value.index == 1
    assert anna.enqueue(new, max_retries=3, now_ms=NOW, skip_existing=True) == ["mine"]


def test_an_operator_may_label_a_completed_job_and_complete_none(
    roles: RoleQueue, as_user: Open
) -> None:
    job = enqueue(as_user("anna"))
    roles.sql("UPDATE queued.jobs SET state = 'completed', ready = false")
    changes = job_changes({"note": "n", "labels": {"a": "1"}})
    with pytest.raises(DeniedError):
        as_user("anna").edits.edit([job], changes, now_ms=NOW)
    assert as_user("operator").edits.edit([job], changes, now_ms=NOW)
    assert as_user("operator").show(job).labels == {"a": "1"}
    enqueue(as_user("anna"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.sql("UPDATE queued.jobs SET state = 'completed', ready = false", "operator")


def test_a_user_cannot_take_a_key_before_its_time(roles: RoleQueue, as_user: Open) -> None:
    job = NewJob("true", unique_key="key", unique_for_ms=10**13)
    (held,) = as_user("anna").enqueue([job], max_retries=3, now_ms=NOW)
    roles.sql(f"SELECT queued.free_keys('{{key}}', {2**63 - 1})", "enqueuer")
    assert as_user("enqueuer").enqueue([job], max_retries=3, now_ms=NOW) == [held]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE queued.jobs SET submitted_by = 'root'",
        "UPDATE queued.jobs SET command = 'false'",
        "UPDATE queued.jobs SET state = 'completed'",
        "UPDATE queued.jobs SET token = 1",
        "DELETE FROM queued.jobs",
        "INSERT INTO queued.jobs (submitted_by) VALUES ('root')",
        FORGED,
        "INSERT INTO queued.deltas (queue, label, n) VALUES ('q', 'dead', 1)",
        "CREATE FUNCTION queued.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        (
            "CREATE TEMP TABLE t (a integer); CREATE TRIGGER t AFTER INSERT ON t"
            " REFERENCING NEW TABLE AS added EXECUTE FUNCTION queued.count_inserted()"
        ),
    ],
)
def test_an_enqueuer_cannot_forge_or_change_what_is_recorded(
    roles: RoleQueue, as_user: Open, statement: str
) -> None:
    enqueue(as_user("anna"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.sql(statement, "anna")


@pytest.mark.parametrize("statement", ["UPDATE queued.jobs SET attempts = runs", EARLY])
def test_an_enqueuer_writes_nothing_that_makes_the_end_of_a_run_fail(
    roles: RoleQueue, as_user: Open, statement: str
) -> None:
    """The service would end, and so would each one that starts after it."""
    enqueue(as_user("anna"))
    roles.sql("UPDATE queued.jobs SET state = 'processing', ready = false, runs = 1, token = 1")
    with pytest.raises(psycopg.errors.CheckViolation):
        roles.sql(statement, "anna")


def test_an_operator_removes_no_run_that_has_not_ended(roles: RoleQueue, as_user: Open) -> None:
    """No rescue would find it after the death of its service."""
    enqueue(as_user("anna"))
    roles.sql(
        "INSERT INTO queued.attempts (job, number, instance, worker, started_at, ended_at, outcome)"
        " SELECT seq, n, 'i', 1, 0, ended, outcome FROM queued.jobs,"
        " (VALUES (1, 0, 'exit'), (2, NULL, NULL)) AS one (n, ended, outcome)"
    )
    roles.sql("DELETE FROM queued.attempts", "operator")
    assert roles.sql("SELECT number FROM queued.attempts") == [(2,)]


def test_settings_of_a_user_change_nothing_that_is_stored(roles: RoleQueue, as_user: Open) -> None:
    for setting in ("standard_conforming_strings", "row_security"):
        roles.sql(f"ALTER ROLE {roles.user('anna')} SET {setting} = off")
    job = NewJob("cat", stdin=b"a\\b\x00\xff")
    as_user("anna").enqueue([job], max_retries=3, now_ms=NOW)
    assert roles.sql("SELECT content FROM queued.inputs") == [(job.stdin,)]
    roles.sql(f"ALTER ROLE {roles.user('anna')} RESET ALL")


def test_no_user_chooses_the_number_of_a_lane(roles: RoleQueue) -> None:
    """After the largest number no lane could be made; no dispatcher would read a negative one."""
    insert = "INSERT INTO queued.lanes (id, queue, requires) VALUES ({}, 'q', '')"
    for role in ("enqueuer", "operator", "service"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            roles.sql(insert.format(2**31 - 1), role)
    with pytest.raises(psycopg.errors.CheckViolation):
        roles.sql(insert.format(-1))


def test_no_user_gives_a_job_the_lane_of_another_queue(roles: RoleQueue, as_user: Open) -> None:
    """It would pass the limit and the pause of its queue."""
    for user in ("enqueuer", "operator"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            roles.sql(PENDING.format("limited", 0), user)
        roles.sql(PENDING.format("default", 0), user)
    enqueue(as_user("anna"))
    for move in (
        "UPDATE queued.jobs SET queue = 'limited'",
        "UPDATE queued.jobs SET lane = 2147483647",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            roles.sql(move, "operator")


UNSAFE = [
    "GRANT INSERT ON queued.jobs TO PUBLIC",
    "GRANT INSERT (id) ON queued.jobs TO PUBLIC",
    "GRANT SELECT ON queued.output TO PUBLIC",
    "GRANT TRIGGER ON queued.attempts TO {other}",
    "GRANT USAGE ON SCHEMA queued TO PUBLIC",
    "GRANT CREATE ON SCHEMA queued TO {other}",
    "GRANT EXECUTE ON FUNCTION queued.count_inserted TO PUBLIC",
    "GRANT EXECUTE ON FUNCTION queued.make_lanes TO PUBLIC",
    (
        "CREATE FUNCTION queued.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER spy AFTER DELETE ON queued.jobs EXECUTE FUNCTION queued.f()"
    ),
    (
        "CREATE TRIGGER spy AFTER INSERT ON queued.jobs FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "CREATE RULE spy AS ON INSERT TO queued.settings DO INSTEAD NOTHING",
]


@pytest.mark.parametrize("statement", UNSAFE)
def test_a_database_that_others_can_change_is_refused_with_the_remedy(
    roles: RoleQueue, statement: str
) -> None:
    safety.must_be_safe(roles.url_of("service"))
    roles.sql(statement.format(other=roles.user("nobody")))
    with pytest.raises(DeniedError, match="is refused") as refused:
        safety.must_be_safe(roles.url_of("service"))
    roles.sql(str(refused.value).partition("As its owner run: ")[2])
    safety.must_be_safe(roles.url_of("service"))


def test_a_start_without_a_role_is_refused_with_the_role_that_it_needs(roles: RoleQueue) -> None:
    remedy = f"GRANT {roles.schema}_service TO {roles.user('nobody')}"
    with pytest.raises(DeniedError, match=remedy):
        upgrade.found_schema(roles.url_of("nobody"))


def test_functions_of_others_are_never_called(roles: RoleQueue) -> None:
    roles.sql(f"ALTER ROLE {roles.user('service')} SET search_path = public, pg_catalog")
    with closing(PostgresStore(roles.url_of("service"))) as store, store._database.transaction():
        assert store._database.value("search_path")[0] == "pg_catalog"
    with pytest.raises(DeniedError, match="has public before pg_catalog"):
        safety.must_be_safe(roles.url_of("service"))
    roles.sql(f"ALTER ROLE {roles.user('service')} RESET search_path")


def test_an_owner_that_may_not_make_roles_gives_them_their_rights_later(roles: RoleQueue) -> None:
    url = postgres_server.fresh_schema()
    schema = address.parse(url).schema
    reader = url.replace("tester@", f"{schema}_reader@")
    roles.sql(f"CREATE ROLE {schema}_own LOGIN; CREATE SCHEMA {schema} AUTHORIZATION {schema}_own")
    own = url.replace("tester@", f"{schema}_own@")
    upgrade.migrate(own)
    for role in ROLES:
        roles.sql(f"CREATE ROLE {schema}_{role} LOGIN")
    with pytest.raises(DeniedError):
        PostgresStore(reader)
    for _ in range(2):
        upgrade.migrate(own)
    with closing(PostgresStore(reader)) as store:
        assert list(store.list(JobFilter())) == []
    with pytest.raises(DeniedError, match="its owner can do that"):
        upgrade.migrate(reader.replace(f"schema={schema}", "schema=missing"))


def test_an_enqueuer_lets_no_job_wait_for_that_of_another_user(
    roles: RoleQueue, as_user: Open
) -> None:
    foreign, own = enqueue(as_user("enqueuer")), enqueue(as_user("anna"))
    values = f"(on_job, job, condition, status) VALUES ({foreign}, {own}, 'after', 'waiting')"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.sql(f"INSERT INTO queued.dependencies {values}", "anna")
    roles.sql(f"INSERT INTO queued.dependencies {values}")
    assert roles.sql("SELECT status FROM queued.dependencies", "anna") == []
