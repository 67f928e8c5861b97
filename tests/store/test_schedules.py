"""Schedules: what is stored, and which jobs are enqueued at which times."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from queued.core.errors import ConfigError, ConflictError, NotFoundError
from queued.core.model import ExistingJob, State
from queued.core.schedules import Schedule, new_schedule
from queued.store.firings import Fired
from tests.store.engine import NOW, Engine

MINUTE = 60_000
FIRST = (NOW // MINUTE + 1) * MINUTE  # the first full minute after NOW


def _schedule(name: str = "s", expression: str = "* * * * *", **fields: Any) -> Schedule:
    policies = {key: fields.pop(key) for key in ("catch_up", "overlap") if key in fields}
    return new_schedule(name, expression, "UTC", {"command": "true", **fields}, **policies)


def _add(engine: Engine, *names: str, **fields: Any) -> None:
    for name in names or ("s",):
        engine.store.schedules.add(_schedule(name, **fields), now_ms=NOW)


def _fire(engine: Engine, now_ms: int) -> Sequence[Fired]:
    with engine.ledger.transaction():
        return engine.ledger.schedules.fire(max_retries=3, now_ms=now_ms)


def _next(engine: Engine, now_ms: int = NOW) -> int | None:
    with engine.ledger.transaction():
        return engine.ledger.schedules.next_firing(now_ms=now_ms).at_ms


def test_a_schedule_is_stored_as_given_and_listed_by_name(engine: Engine) -> None:
    _add(engine, "b", timeout="5m", env={"A": "1"})
    _add(engine, "a", catch_up="all", overlap="skip")
    first, second = engine.store.schedules.list()
    assert (first.name, first.catch_up, first.overlap) == ("a", "all", "skip")
    assert json.loads(second.job) == {"command": "true", "timeout": "5m", "env": {"A": "1"}}
    assert second == _schedule("b", timeout="5m", env={"A": "1"})._replace(
        next_ms=FIRST, created_ms=NOW
    )
    assert engine.store.schedules.show("b") == second
    with pytest.raises(ConflictError):
        _add(engine, "a")
    with pytest.raises(NotFoundError):
        engine.store.schedules.show("c")


def test_the_job_of_a_firing_ends_at_a_time_of_its_zone(engine: Engine) -> None:
    """Each firing has an end of its own, after its time, also if the firing is late."""
    job = {"command": "true", "deadline": "06:00"}
    schedule = new_schedule("s", "0 3 * * *", "Asia/Tokyo", job, catch_up="all")
    engine.store.schedules.add(schedule, now_ms=NOW)
    day = 86_400_000
    first = schedule.next_after(NOW) or 0
    assert len(_fire(engine, first + 2 * day)[0].jobs) == 3
    ends = sorted(job.expires_ms or 0 for job in engine.jobs())
    assert ends == [first + 3 * 3_600_000 + n * day for n in range(3)]


def test_a_time_is_fired_once_as_a_job_that_knows_it(engine: Engine) -> None:
    _add(engine, queue="nightly", max_retries=7, requires=["gpu"], env={"A": "1"})
    assert _next(engine) == FIRST
    assert _fire(engine, FIRST - 1) == []
    (fired,) = _fire(engine, FIRST + 5)
    (job,) = engine.jobs()
    assert fired == Fired("s", {FIRST: job.id}, {}, [], None, "")
    assert (job.schedule, job.scheduled_ms) == ("s", FIRST)
    assert (job.queue, job.max_retries, job.requires) == ("nightly", 7, frozenset({"gpu"}))
    iso = "2023-11-14T22:14:00.000Z"
    assert job.options.env == {"A": "1", "QUEUED_SCHEDULE": "s", "QUEUED_SCHEDULED_AT": iso}
    assert _fire(engine, FIRST + 5) == []
    assert _next(engine, FIRST) == FIRST + MINUTE
    stored = engine.store.schedules.show("s")
    assert (stored.fired, stored.last_ms, stored.next_ms) == (1, FIRST, FIRST + MINUTE)


def test_of_two_dispatchers_one_fires_a_time(engine: Engine) -> None:
    """Both read the schedules that are due before one of them has committed, where they can."""
    _add(engine, "a", "b")
    other = engine.another_ledger()
    with engine.ledger.transaction():
        engine.ledger.schedules.fire(max_retries=3, now_ms=FIRST)
        if not engine.host_clock:  # in a file the second one waits for the first
            with other.transaction():
                assert other.schedules.fire(max_retries=3, now_ms=FIRST) == []
                soon = other.schedules.next_firing(now_ms=FIRST).at_ms
            assert soon == FIRST + 100, "it looks again, because the first one may fail"
    with other.transaction():
        assert other.schedules.fire(max_retries=3, now_ms=FIRST) == []
    assert sorted(str(job.schedule) for job in engine.jobs()) == ["a", "b"]


def test_a_firing_that_is_not_committed_is_made_again(engine: Engine) -> None:
    _add(engine)
    with pytest.raises(ZeroDivisionError), engine.ledger.transaction():
        assert len(engine.ledger.schedules.fire(max_retries=3, now_ms=FIRST)) == 1
        raise ZeroDivisionError
    assert engine.jobs() == []
    assert len(_fire(engine, FIRST)) == len(engine.jobs()) == 1


@pytest.mark.parametrize(
    ("catch_up", "late", "expected"),
    [
        ("last", 5 * MINUTE, [5]),
        ("all", 5 * MINUTE, [0, 1, 2, 3, 4, 5]),
        ("all", 1000 * MINUTE, [*range(901, 1001)]),
        ("none", 5 * MINUTE, [4, 5]),
        ("none", 5 * MINUTE + 1, [5]),
    ],
)
def test_times_of_a_downtime(engine: Engine, catch_up: str, late: int, expected: list[int]) -> None:
    _add(engine, catch_up=catch_up)
    (fired,) = _fire(engine, FIRST + late)
    times = [FIRST + minutes * MINUTE for minutes in expected]
    if catch_up == "none":
        times = times[-1:]
    assert [job.scheduled_ms for job in engine.jobs()] == times
    assert fired.missed_ms == (None if times[0] == FIRST else FIRST)
    assert _fire(engine, FIRST + late) == []


def test_none_of_the_times_of_a_downtime(engine: Engine) -> None:
    _add(engine, expression="0 0 * * *", catch_up="none")
    midnight = _next(engine)
    assert midnight
    (fired,) = _fire(engine, midnight + MINUTE + 1)
    assert (fired.jobs, fired.missed_ms, engine.jobs()) == ({}, midnight, [])
    assert _next(engine) == midnight + 24 * 60 * MINUTE


def test_skip_records_the_firing_while_a_job_waits_or_runs(engine: Engine) -> None:
    _add(engine, overlap="skip")
    _fire(engine, FIRST)
    (waiting,) = _fire(engine, FIRST + MINUTE)
    claim = engine.must_claim(now_ms=FIRST)
    (running,) = _fire(engine, FIRST + 2 * MINUTE)
    for minutes, fired in ((1, waiting), (2, running)):
        assert (fired.jobs, [*fired.skipped]) == ({}, [FIRST + minutes * MINUTE])
    stored = engine.store.schedules.show("s")
    assert (stored.fired, stored.skipped, stored.last_ms) == (1, 2, FIRST + 2 * MINUTE)
    engine.end(claim)
    (fired,) = _fire(engine, FIRST + 3 * MINUTE)
    assert len(fired.jobs) == 1


def test_a_taken_unique_key_skips_the_time(engine: Engine) -> None:
    _add(engine, unique_key="k")
    holder = engine.store.show(engine.add(unique_key="k", now_ms=FIRST)).id
    (fired,) = _fire(engine, FIRST)
    assert (fired.jobs, fired.skipped) == ({}, {FIRST: f"the job {holder} has the unique key"})
    made = engine.store.schedules.run("s", max_retries=3, now_ms=FIRST)
    assert (made, isinstance(made, ExistingJob)) == (holder, True)
    assert [job.schedule for job in engine.jobs()] == [None]
    stored = engine.store.schedules.show("s")
    assert (stored.fired, stored.skipped) == (0, 1)


def test_allow_starts_beside_the_one_before(engine: Engine) -> None:
    _add(engine)
    _fire(engine, FIRST)
    _fire(engine, FIRST + MINUTE)
    assert len(engine.jobs()) == 2


def test_replace_cancels_the_one_that_waits_or_runs(engine: Engine) -> None:
    _add(engine, overlap="replace")
    _fire(engine, FIRST)
    (fired,) = _fire(engine, FIRST + MINUTE)
    first, second = engine.jobs()
    assert (first.state, fired.replaced) == (State.CANCELLED, [first.id])
    claim = engine.must_claim(now_ms=FIRST)
    (fired,) = _fire(engine, FIRST + 2 * MINUTE)
    assert fired.replaced == [second.id]
    with engine.ledger.transaction():
        assert engine.ledger.cancel_requests("i") == [claim.key]
    assert engine.jobs()[2].state is State.PENDING


def test_queue_waits_for_the_end_of_the_one_before(engine: Engine) -> None:
    _add(engine, overlap="queue", catch_up="all")
    assert len(_fire(engine, FIRST)) == 1
    assert _next(engine, FIRST) == FIRST + MINUTE, "while the job waits"
    _add(engine, "other")
    now = FIRST + 2 * MINUTE
    assert [fired.schedule for fired in _fire(engine, now)] == ["other"]
    with engine.ledger.transaction():
        following = engine.ledger.schedules.next_firing(now_ms=now)
    assert following == (FIRST + 3 * MINUTE, True)
    for minutes in (1, 2):
        ((name, _),) = engine.store.schedules.jobs("s")
        engine.store.cancel(engine.store.find(name), now_ms=now)
        (fired,) = _fire(engine, now)
        assert [*fired.jobs] == [FIRST + minutes * MINUTE]
    assert _fire(engine, now) == []


def test_a_paused_schedule_fires_nothing_and_catches_nothing_up(engine: Engine) -> None:
    _add(engine)
    assert engine.store.schedules.pause("s", now_ms=NOW)
    assert not engine.store.schedules.pause("s", now_ms=NOW)
    assert _next(engine) is None
    assert _fire(engine, FIRST) == []
    assert engine.store.schedules.resume("s", now_ms=FIRST + MINUTE)
    assert not engine.store.schedules.resume("s", now_ms=FIRST + MINUTE)
    assert _fire(engine, FIRST + MINUTE) == []
    assert _next(engine, FIRST) == FIRST + 2 * MINUTE


def test_an_edit_moves_the_next_time_only_if_the_times_change(engine: Engine) -> None:
    _add(engine)
    engine.store.schedules.edit(_schedule(command="false"), now_ms=FIRST + MINUTE)
    assert _next(engine) == FIRST
    engine.store.schedules.edit(_schedule(expression="0 * * * *"), now_ms=FIRST)
    assert _next(engine) == FIRST - FIRST % (60 * MINUTE) + 60 * MINUTE
    with pytest.raises(NotFoundError):
        engine.store.schedules.edit(_schedule("t"), now_ms=NOW)


def test_a_removed_schedule_leaves_its_jobs(engine: Engine) -> None:
    _add(engine)
    _fire(engine, FIRST)
    engine.store.schedules.remove("s")
    assert engine.store.schedules.list() == []
    assert [job.schedule for job in engine.jobs()] == ["s"]
    with pytest.raises(NotFoundError):
        engine.store.schedules.remove("s")


def test_a_run_by_a_user_is_none_of_the_times(engine: Engine) -> None:
    _add(engine)
    made = [engine.store.schedules.run("s", max_retries=3, now_ms=FIRST) for _ in "ab"]
    _fire(engine, FIRST)
    found = {job.id: (job.schedule, job.scheduled_ms) for job in engine.jobs()}
    assert [found[name] for name in made] == [("s", None)] * 2
    assert ("s", FIRST) in found.values()
    engine.add()
    assert {job.id for job in engine.jobs(schedule="s")} == found.keys()
    assert engine.jobs(schedule="other") == []


def test_a_clock_that_was_set_back_fires_nothing_twice(engine: Engine) -> None:
    _add(engine)
    _fire(engine, FIRST)
    hours = 4 * 60 * MINUTE
    _fire(engine, FIRST + hours)
    for now_ms in (FIRST, FIRST + MINUTE):
        assert _fire(engine, now_ms) == []
    with engine.ledger.transaction():
        engine.ledger.schedules.clock_was_set(now_ms=FIRST + hours - 3 * 60 * MINUTE)
    assert _next(engine) == FIRST + hours + MINUTE, "a small error is waited for"
    with engine.ledger.transaction():
        engine.ledger.schedules.clock_was_set(now_ms=FIRST - 1)
    assert _next(engine) == FIRST, "after a large one the schedule would stand for hours"
    (fired,) = _fire(engine, FIRST)
    assert (fired.jobs, fired.skipped) == ({}, {})
    (fired,) = _fire(engine, FIRST + MINUTE)
    assert [*fired.jobs] == [FIRST + MINUTE]


def test_a_schedule_that_cannot_be_used_stops_no_other(engine: Engine) -> None:
    _add(engine, "a", "b", "c")
    bad = _schedule("a")._replace(job='{"command": "true", "unknown": 1}')
    engine.store.schedules.edit(bad, now_ms=NOW)
    engine.store.schedules.edit(_schedule("b")._replace(job='{"command": ""}'), now_ms=NOW)
    refused = {fired.schedule: fired.refused for fired in _fire(engine, FIRST)}
    assert "unknown field 'unknown'" in refused["a"]
    assert refused == {**refused, "b": "the command is empty", "c": ""}
    assert [job.schedule for job in engine.jobs()] == ["c"]


@pytest.mark.parametrize("catch_up", ["all", "last"])
def test_a_refused_schedule_keeps_its_times(engine: Engine, catch_up: str) -> None:
    """It is tried again later, and at once when it is corrected."""
    _add(engine, catch_up=catch_up)
    good = engine.store.schedules.show("s")
    engine.store.schedules.edit(good._replace(job='{"command": ""}'), now_ms=NOW)
    for minutes, refused in ((0, 1), (4, 0), (5, 1), (6, 0)):
        now_ms = FIRST + minutes * MINUTE
        assert len(_fire(engine, now_ms)) == refused
        assert (_next(engine, now_ms) or 0) > now_ms + MINUTE - 1
    assert engine.store.schedules.show("s").next_ms == FIRST
    engine.store.schedules.edit(good, now_ms=FIRST + 6 * MINUTE)
    (fired,) = _fire(engine, FIRST + 6 * MINUTE)
    missed = range(7) if catch_up == "all" else [6]
    assert [*fired.jobs] == [FIRST + minutes * MINUTE for minutes in missed]
    assert _next(engine, FIRST + 6 * MINUTE) == FIRST + 7 * MINUTE


UNUSABLE = {
    "an environment that is an array": {"job": '{"command": "true", "env": [1]}'},
    "an environment that is text": {"job": '{"command": "true", "env": "A=1"}'},
    "JSON nested too deeply": {"job": f'{{"command": "true", "x": {"[" * 990}{"]" * 990}}}'},
    "a zone that this host lacks": {"zone": "Mars/Olympus"},
}


@pytest.mark.parametrize("fields", UNUSABLE.values(), ids=UNUSABLE)
def test_an_odd_schedule_is_refused_whatever_reads_it(
    engine: Engine, fields: dict[str, Any]
) -> None:
    _add(engine, "odd", "s")
    odd = engine.store.schedules.show("odd")._replace(**fields)
    with engine.ledger.transaction():
        _write(engine, odd, last_at=FIRST + 24 * 60 * MINUTE)
        engine.ledger.schedules.clock_was_set(now_ms=FIRST)
    refused, fired = sorted(_fire(engine, FIRST + MINUTE))
    assert (refused.schedule, bool(refused.refused), refused.jobs) == ("odd", True, {})
    assert len(fired.jobs) == 1


def _write(engine: Engine, schedule: Schedule, *, last_at: int) -> None:
    """Writes a schedule as another program can."""
    database = engine.ledger.schedules._database  # no verb writes such a row
    fields = ("cron", "zone", "job", "catch_up", "overlap", "file")
    values = {field: getattr(schedule, field) for field in fields}
    database.row("schedule_edit", schedule=schedule.name, next_at=FIRST, **values)
    moved = {"next_at": FIRST, "last_at": last_at, "fired": 0, "skipped": 0}
    database.run("schedule_move_on", schedule=schedule.name, **moved)


@pytest.mark.parametrize("defaults", ['{"max_retries": "3"}', '{"nice": "x"}', '{"command": "x"}'])
def test_a_queue_with_odd_defaults_gets_no_new_jobs(engine: Engine, defaults: str) -> None:
    _add(engine, "a", queue="odd")
    _add(engine, "b")
    engine.store.queues.change("odd", defaults=defaults)
    refused, fired = sorted(_fire(engine, FIRST))
    assert "the settings of the queue odd cannot be read" in refused.refused
    assert [*fired.jobs] == [FIRST]
    with pytest.raises(ConfigError, match="nothing was changed"):
        engine.add(queue="odd")


def test_a_queue_that_takes_no_jobs_gets_none_from_a_schedule(engine: Engine) -> None:
    _add(engine, "a", queue="closed")
    _add(engine, "b")
    engine.store.queues.change("closed", draining_ms=NOW)
    refused, fired = sorted(_fire(engine, FIRST))
    assert (refused.jobs, "closed" in refused.refused) == ({}, True)
    assert [*fired.jobs] == [FIRST]
    assert _fire(engine, FIRST) == []


def test_the_schedules_of_a_file_are_kept_equal_to_it(engine: Engine) -> None:
    _add(engine, "own")

    def keep(*wanted: Schedule, file: str = "host:/x") -> tuple[list[str], ...]:
        with engine.ledger.transaction():
            return engine.ledger.schedules.keep_equal(wanted, file, now_ms=NOW)

    assert keep(_schedule("a"), _schedule("b"), _schedule("own")) == (["a", "b"], [], [], ["own"])
    assert keep(_schedule("a"), _schedule("b")) == ([], [], [], [])
    engine.store.schedules.pause("a", now_ms=NOW)
    assert keep(_schedule("a", command="false")) == ([], ["a"], ["b"], [])
    changed = engine.store.schedules.show("a")
    assert (json.loads(changed.job), changed.paused_ms) == ({"command": "false"}, NOW)
    assert keep(_schedule("c"), file="other:/x") == (["c"], [], [], [])
    assert keep() == ([], [], ["a"], [])
    assert [schedule.name for schedule in engine.store.schedules.list()] == ["c", "own"]
