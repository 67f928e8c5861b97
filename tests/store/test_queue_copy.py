"""db move over both engines: everything arrives, and one queue is in use at any time."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest

from queued.core.errors import (
    BusyError,
    ConflictError,
    DatabaseUnusableError,
    QueuedError,
    StorageError,
)
from queued.core.model import Instance, Label, NewJob, Outcome, State
from queued.core.rates import Rate
from queued.core.records import JobFilter
from queued.core.runs import Chunk, Ending
from queued.core.schedules import new_schedule
from queued.core.settlement import Verdict
from queued.store import engine as engines
from queued.store import instance_lock, queue_copy
from queued.store.paths import engine_at, is_url
from queued.store.postgres import address
from queued.store.postgres.maintenance import moving as postgres_moving
from queued.store.postgres.maintenance.queue_tables import PostgresTables
from queued.store.protocols import Store
from queued.store.sqlite.maintenance import moving as sqlite_moving
from queued.store.sqlite.maintenance.queue_tables import SqliteTables
from tests import postgres_server
from tests.store.engine import FAILED, NOW, Engine, purge

LONGEST = "# " + "ä\n" * 43_000
Locations = Callable[[str], str]


@pytest.fixture
def new_place(tmp_path: Path) -> Locations:
    """A function that returns a place of an engine where no queue is yet."""
    tmp_path.chmod(0o700)

    def make(name: str) -> str:
        if name == "postgres":
            return postgres_server.fresh_schema()
        return str(tmp_path / f"{os.urandom(4).hex()}.db")

    return make


@pytest.fixture(params=["sqlite to postgres", "postgres to sqlite"])
def route(request: pytest.FixtureRequest, new_place: Locations) -> tuple[str, str]:
    """A place with a queue, and one of the other engine without."""
    old, new = (new_place(name) for name in request.param.split(" to "))
    opened(old).upgrade(60)
    return old, new


def opened(location: str) -> engines.Engine:
    return engine_at(location, {"STATE_DIRECTORY": os.environ["XDG_STATE_HOME"]})


def fill(location: str) -> None:
    """Jobs in all states that a queue at rest can have, settings, and a number once used."""
    engine = opened(location)
    with ExitStack() as stack:
        made = Engine(
            stack,
            lambda: engine.open_store(60),
            lambda: engine.open_ledger(lambda _: None),
            host_clock=not is_url(location),
        )
        made.put(State.PENDING, command=LONGEST, id="longest", queue="\U0001f980 ß", requires="gpu")
        made.put(State.CANCELLED, command="true", id="unwanted")
        made.store.queues.change("mail", concurrency=3, paused_ms=NOW, defaults='{"nice": 1}')
        made.store.queues.change("loud", rate_starts=9, rate_ms=86_400_000)
        _with_output(made)
        _with_history(made, 30)
        made.add("sleep 1", id="later", delay_ms=3_600_000, priority=-5, after_any=("longest",))
        made.store.config_set("workers", "7", now_ms=NOW)
        made.store.drain("web1", now_ms=NOW)
        made.put(State.COMPLETED, command="true", id="removed", priority=9, queue="brief")
        assert purge(made.store, Label.COMPLETED, queue="brief") == [1]
        nightly = new_schedule("nightly", "0 3 * * *", "Europe/Berlin", {"command": "true"})
        made.store.schedules.add(nightly, now_ms=NOW)
        made.store.schedules.run("nightly", max_retries=3, now_ms=NOW)


def _with_output(made: Engine) -> None:
    rate = Rate(2, 86_400_000)
    made.add("cat", id="printed", queue="loud", priority=8, key="api", key_rate=rate)
    made.promote(now_ms=NOW)
    claim = made.must_claim()
    with made.ledger.transaction():
        pieces = [Chunk(1, 0, bytes(range(256)) * 256), Chunk(1, 70_000, b"\xff\x00\n")]
        made.ledger.store_output([(claim.key, piece) for piece in pieces])
    made.end(claim, Ending(Outcome.EXIT, exit_code=0, ran_ms=12, cpu_ms=3, peak_kib=4000))


def _with_history(made: Engine, count: int) -> None:
    """A job that ran so often; two of its runs were deferred in a row, and have one record."""
    made.add(
        "false", id="unlucky", max_retries=count, priority=7, options='{"env":{"ÄÖ":"\\u00df"}}'
    )
    for n in range(count):
        claim = made.must_claim(token=1000 + n)
        state = State.PENDING if n < count - 1 else State.DEAD
        deferrals = {3: 1, 4: 2}.get(n, 0)
        made.settle(claim, Verdict(state, 1, NOW, f"exit 1: ünlucky {n}", deferrals), FAILED)


def picture(location: str) -> list[Any]:
    """All that users can see of a queue."""
    with closing(opened(location).open_store(60)) as store:
        numbers = store.numbers
        periods = sorted(numbers.period_runs(since_ms=0, by="queue"))
        totals = (sorted(numbers.run_totals()), periods)
        settings = (store.config(), store.queues.all(), store.schedules.list(), totals)
        queue = [settings, store.drained_hosts(), store.status(now_ms=NOW)]
        return [*queue, *map(_seen(store), jobs(store))]


def _seen(store: Store) -> Callable[[Any], list[object]]:
    def see(job: Any) -> list[object]:
        runs = store.attempts(job.seq)
        output = [list(store.output(job.seq, run.number, n)) for run in runs for n in (1, 2)]
        assert store.show(job.seq) == job
        return [job._replace(submitted_by=None), runs, output]

    return see


def jobs(store: Store) -> list[Any]:
    return list(store.list(JobFilter()))


def move(old: str, new: str) -> dict[str, queue_copy.CopiedTable]:
    source, target = (opened(where).maintenance(60).place() for where in (old, new))
    return queue_copy.move(source, target, socket.gethostname())


def enqueue(location: str, name: str) -> int:
    with closing(opened(location).open_store(60)) as store:
        store.enqueue([NewJob("true", name)], max_retries=3, now_ms=NOW)
        return store.find(name)


def is_sound(location: str) -> bool:
    return opened(location).maintenance(60).check(full=True) == ([], [])


def test_everything_arrives_and_the_old_queue_refuses(route: tuple[str, str]) -> None:
    old, new = route
    fill(old)
    before = picture(old)
    early = opened(old).open_store(60)
    copied = move(old, new)
    assert {name: table.rows for name, table in copied.items()} == {
        "settings": 1,
        "drained_hosts": 1,
        "schedules": 1,
        "lanes": 4,
        "queues": 2,
        "jobs": 6,
        "attempts": 30,
        "output": 2,
        "inputs": 0,
        "run_totals": 4,
        "run_periods": 8,
        "dependencies": 1,
        "starts": 2,
        "rated_keys": 1,
    }
    assert picture(new) == before
    assert is_sound(new)
    assert enqueue(new, "next") > 7, "the number of the removed job is not used again"
    place = opened(new).maintenance(60).place().place
    for use in (
        lambda: early.config_set("workers", "3", now_ms=NOW),
        lambda: early.enqueue([NewJob("true")], max_retries=3, now_ms=NOW),
        lambda: opened(old).open_store(60),
        lambda: opened(old).open_store(60, writes=False),
        lambda: opened(old).open_ledger(lambda _: None),
        lambda: opened(old).prepare(0, lambda _: None),
        lambda: opened(old).upgrade(60),
        lambda: opened(old).describe(),
        lambda: opened(old).maintenance(60).check(full=False),
        lambda: move(old, new),
    ):
        with pytest.raises(DatabaseUnusableError, match="was moved to ") as refused:
            use()
        assert place in str(refused.value)
    early.close()


def test_only_known_columns_stay_behind(new_place: Locations) -> None:
    """A column that one engine lacks is lost by a move."""
    places = [new_place("sqlite"), new_place("postgres")]
    stored = []
    for where in places:
        opened(where).upgrade(60)
        with opened(where).maintenance(60).place().held() as tables:
            stored.append({(t, column) for t in queue_copy.KEYS for column in tables.columns(t)})
    assert stored[0] ^ stored[1] == {("attempts", "token")}


def test_a_queue_in_use_is_not_moved(route: tuple[str, str]) -> None:
    old, new = route
    fill(old)
    enqueue(old, "runs")
    before = picture(old)
    engine = opened(old)
    with closing(engine.open_ledger(lambda _: None)) as ledger, ledger.transaction():
        (claim,) = ledger.claim("i", [1], 5, now_ms=NOW)
    with pytest.raises(BusyError, match="1 jobs of .* are processing, and their service is dead"):
        move(old, new)
    with closing(engine.open_ledger(lambda _: None)) as ledger, ledger.transaction():
        assert ledger.unclaim(claim.key, now_ms=NOW)
    with pytest.raises(BusyError, match=r"a service runs on .* \(1m8abcdefgh00\); stop it"):
        _beside_a_service(engine, lambda: move(old, new))
    assert [row[0] for row in before[3:]] == [row[0] for row in picture(old)[3:]]
    move(old, new)


def _beside_a_service(engine: engines.Engine, work: Callable[[], object]) -> None:
    """Does the work while an instance lives."""
    os.makedirs(os.path.dirname(engine.instance_files), mode=0o700, exist_ok=True)
    held = instance_lock.create_locked(
        instance_lock.path_of(engine.instance_files, "1m8abcdefgh00")
    )
    host = instance_lock.scope(engine.instance_files)
    with closing(engine.open_ledger(lambda _: None)) as ledger:
        with ledger.transaction():
            ledger.register(
                Instance("1m8abcdefgh00", "h", 1, "0", NOW, None, host_id=host, lease_s=120.0),
                now_ms=NOW,
            )
        try:
            work()
        finally:
            os.close(held)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_queue_with_jobs_is_no_target(new_place: Locations, engine: str) -> None:
    old, new = new_place("sqlite"), new_place(engine)
    opened(new).upgrade(60)
    for where in (old, new):
        enqueue(where, "a")
    with pytest.raises(ConflictError, match="has jobs or settings|exists already"):
        move(old, new)
    assert len(picture(old)) == len(picture(new)) == 4


@pytest.mark.parametrize("change", ["drain", "queue"])
def test_a_queue_of_which_users_have_set_something_is_no_target(
    new_place: Locations, change: str
) -> None:
    old, new = new_place("sqlite"), new_place("postgres")
    opened(old).upgrade(60)
    opened(new).upgrade(60)
    with closing(opened(new).open_store(60, lambda _: None, writes=True)) as store:
        if change == "drain":
            store.drain("host", now_ms=NOW)
        else:
            store.queues.change("mail", weight=2)
    with pytest.raises(ConflictError, match="has jobs or settings"):
        move(old, new)


# What is called there, how many times by then, and whether the harm comes after the call.
POINTS = [
    ("set_last_seq", 1, False),
    ("insert", 3, False),
    ("close", 1, True),  # of the copy
    ("receive", 1, True),
    ("close", 2, True),  # of the old queue
    ("open", 1, False),
    ("open", 1, True),
]
OWNERS = {
    "receive": (sqlite_moving.SqlitePlace, postgres_moving.PostgresPlace),
    "open": (sqlite_moving.SqlitePlace, postgres_moving.PostgresPlace),
}


@pytest.mark.parametrize(
    ("harm", "point"),
    [
        *(("kill", point) for point in POINTS),
        *(("server gone", point) for point in POINTS[1:6:2]),
    ],
)
def test_an_interrupted_move_leaves_one_queue_and_goes_on(
    route: tuple[str, str],
    harm: str,
    point: tuple[str, int, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = route
    fill(old)
    before = picture(old)
    server = next(filter(is_url, route))
    with monkeypatch.context() as patched:
        _cut(patched, point, lambda: _HARMS[harm](server))
        _moved_in_a_child(old, new)
    _check_what_is_in_use(old, new, before)
    copied = _moved_again(old, new)
    assert copied or point in POINTS[4:]
    assert picture(new) == before
    assert is_sound(new)
    assert enqueue(new, "next") > 6


def test_a_file_of_the_same_path_on_another_host_is_another_queue(new_place: Locations) -> None:
    old, new = new_place("sqlite"), new_place("postgres")
    opened(old).upgrade(60)
    enqueue(old, "kept")
    with pytest.MonkeyPatch.context() as patched:
        cut = Mock(side_effect=StorageError("cut"))
        patched.setattr(postgres_moving.PostgresPlace, "open", cut)
        with pytest.raises(StorageError, match="give the same command again"):
            move(old, new)
    os.rename(old, f"{old}.here")
    opened(old).upgrade(60)
    source, target = (opened(where).maintenance(60).place() for where in (old, new))
    with pytest.raises(DatabaseUnusableError, match="unfinished move"):
        queue_copy.move(source, target, "another-host")
    os.replace(f"{old}.here", old)
    move(old, new)
    assert [job[0].id for job in picture(new)[3:]] == ["kept"]


def test_a_program_that_had_an_empty_queue_open_cannot_use_an_unfinished_copy(
    new_place: Locations,
) -> None:
    old, new = new_place("sqlite"), new_place("postgres")
    for where in (old, new):
        opened(where).upgrade(60)
    with closing(opened(new).open_store(60)) as early, pytest.MonkeyPatch.context() as patched:
        cut = Mock(side_effect=StorageError("cut"))
        patched.setattr(SqliteTables, "close", cut)
        with pytest.raises(StorageError, match="give the same command again"):
            move(old, new)
        with pytest.raises(DatabaseUnusableError, match="copy of an unfinished move"):
            early.enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
    move(old, new)
    assert enqueue(new, "next") == 1


def _check_what_is_in_use(old: str, new: str, before: list[object]) -> None:
    """At most one queue can be used, and what it has is whole."""
    used = []
    for where in (old, new):
        with suppress(QueuedError):
            if not (is_url(where) or os.path.exists(where)):
                continue
            used.append(picture(where))
    assert used in ([], [before])
    if not used:
        with pytest.raises(DatabaseUnusableError, match=r"unfinished move.*db move --to"):
            picture(new)


def _moved_again(old: str, new: str) -> object:
    """Gives the same command again, as the message says; the move may have been complete."""
    try:
        return move(old, new)
    except DatabaseUnusableError as error:
        assert "was moved to" in str(error)
        return "before"


def _cut(
    patched: pytest.MonkeyPatch, point: tuple[str, int, bool], harm: Callable[[], None]
) -> None:
    """Does harm at the n-th call of a step of a move."""
    name, at, after = point
    calls = 0
    for owner in OWNERS.get(name, (SqliteTables, PostgresTables)):
        plain = getattr(owner, name)

        def step(*arguments: Any, plain: Any = plain) -> Any:
            nonlocal calls
            calls += 1
            if calls == at and not after:
                harm()
            result = plain(*arguments)
            if calls == at and after:
                harm()
            return result

        patched.setattr(owner, name, step)


def _moved_in_a_child(old: str, new: str) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            with suppress(QueuedError):
                move(old, new)
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL)


def _server_gone(url: str) -> None:
    """Ends all connections to the queue that are in the middle of a move."""
    where = address.parse(url)
    with psycopg.connect(where.conninfo, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks l JOIN pg_class c "
            "ON c.oid = l.relation WHERE c.relnamespace = to_regnamespace(%s) "
            "AND pid <> pg_backend_pid()",
            [where.schema],
        )


_HARMS = {"kill": lambda _: os.kill(os.getpid(), signal.SIGKILL), "server gone": _server_gone}
