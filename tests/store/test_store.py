"""The verbs of queuectl."""

import threading
from collections.abc import Iterable, Iterator

import pytest

from queued.core import ids
from queued.core.errors import (
    ConflictError,
    DuplicateJobError,
    NotFoundError,
    QueuedError,
    UsageError,
)
from queued.core.job_options import JobOptions
from queued.core.model import PARTS_OF_PENDING, Instance, Label, NewJob, Outcome, State
from queued.core.records import Job, JobFilter, Summary, WorkerStatus
from queued.core.runs import Chunk
from queued.core.settlement import Verdict
from tests.store.engine import FAILED, NOW, OK, Engine, retry_all


def test_a_job_is_stored_as_it_was_given(engine: Engine) -> None:
    new = NewJob(
        "a'\"$X\n\t\u00e9\U0001f600", "id", "q", -9, NOW + 50, 0, 0, '{"env": {"A": "\u00e9"}}'
    )
    assert engine.store.enqueue([new], max_retries=3, now_ms=NOW) == ["id"]
    job = engine.store.show(engine.store.find("id"))
    options = JobOptions(env={"A": "\u00e9"})
    assert job._replace(submitted_by=None) == Job(
        *(1, "id", "q", -9, new.command, options, State.PENDING, Label.SCHEDULED),
        *(NOW + 50, 0, 0, 0, None, None, NOW, NOW),
        requires=frozenset(),
    )


def test_fields_that_a_job_lacks_get_their_defaults(engine: Engine) -> None:
    job = engine.store.show(engine.add("true", delay_ms=7))
    assert (job.next_run_at_ms, job.max_retries, job.queue, job.priority) == (
        NOW + 7,
        3,
        "default",
        0,
    )


def test_ids_that_are_made_are_in_the_order_of_the_jobs(engine: Engine) -> None:
    names = engine.store.enqueue([NewJob("true")] * 500, max_retries=3, now_ms=NOW)
    assert names == sorted(set(names))
    assert [job.id for job in engine.jobs()] == names


def test_a_batch_is_stored_whole_or_not_at_all(engine: Engine) -> None:
    engine.add(id="taken")

    def jobs() -> Iterator[NewJob]:
        yield from (NewJob("true", "a"), NewJob("true"), NewJob("true", "taken"))

    with pytest.raises(DuplicateJobError, match="'taken' exists already") as refusal:
        engine.store.enqueue(jobs(), max_retries=3, now_ms=NOW)
    assert refusal.value.index == 2
    assert isinstance(refusal.value, ConflictError)
    assert [job.id for job in engine.jobs()] == ["taken"]


def test_a_batch_that_breaks_off_leaves_nothing(engine: Engine) -> None:
    def jobs() -> Iterator[NewJob]:
        yield NewJob("true")
        msg = "line 2"
        raise UsageError(msg)

    with pytest.raises(UsageError, match="line 2"):
        engine.store.enqueue(jobs(), max_retries=3, now_ms=NOW)
    assert engine.jobs() == []


def test_one_id_twice_in_a_batch_is_refused(engine: Engine) -> None:
    with pytest.raises(DuplicateJobError) as refusal:
        engine.store.enqueue([NewJob("true", "a")] * 2, max_retries=3, now_ms=NOW)
    assert refusal.value.index == 1


def test_find_takes_an_id_or_a_unique_prefix_of_a_generated_one(engine: Engine) -> None:
    rows = {name: engine.add(id=name) for name in ("a", "ab", "abc", "b%_", "\u00e9t\u00e9", "B")}
    name = "1abcdefghjkmn"  # it has the form of a generated id
    made = engine.add(id=name)
    rows[name[:3]] = engine.add(id=name[:3])
    assert {name: engine.store.find(name) for name in rows} == rows
    found = [engine.store.find(name[:length]) for length in range(1, len(name) + 1)]
    assert found == [made, made, rows[name[:3]], *[made] * 10]


def test_find_refuses_an_ambiguous_prefix(engine: Engine) -> None:
    first, second = "1abcdefghjkmn", "1abcz00000000"  # they have the form of generated ids
    engine.add(id=first)
    engine.add(id=second)
    told = f"'1abc' is the beginning of several ids, {first} and {second}"
    with pytest.raises(UsageError, match=told):
        engine.store.find("1abc")


def test_an_id_that_exists_is_made_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter((["1abcdefghjkmn"], ["1abcdefghjkmn"], ["2abcdefghjkmn"]))
    monkeypatch.setattr(ids, "make", lambda _: next(made))
    names = [*engine.store.enqueue([NewJob("a")], max_retries=3, now_ms=NOW)]
    names += engine.store.enqueue([NewJob("b")], max_retries=3, now_ms=NOW)
    assert names == ["1abcdefghjkmn", "2abcdefghjkmn"]


@pytest.mark.parametrize(
    "name",
    ["", "x", "job-", "job-11", "JOB", "%", "job_1", "*", "job-?", "1abcdefghjkm", "1769", "0*"],
)
def test_find_says_when_there_is_none(
    engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of names that people gave a part is not enough, however much they look like ours."""
    engine.add(id="job-1")
    engine.add(id="1abcdefghjkmi")
    engine.add(id="1abcdefghjkmnp")
    engine.add(id="1769817600000")
    monkeypatch.setattr(ids, "make", lambda _: ["0abcdefghjkmn"])  # one at random may begin with x
    engine.add()
    with pytest.raises(NotFoundError, match="^no job"):
        engine.store.find(name)


def test_text_that_is_not_utf_8_is_bad_usage(engine: Engine) -> None:
    with pytest.raises(UsageError, match="not valid UTF-8"):
        engine.store.find("\udcff")
    with pytest.raises(UsageError, match="not valid UTF-8"):
        engine.jobs(queue="\udcff")
    with pytest.raises(UsageError, match="not valid UTF-8"):
        engine.store.config_set("db", "\udcff", now_ms=NOW)


def test_a_job_that_is_gone_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        engine.store.show(12345)
    with pytest.raises(NotFoundError):
        engine.store.retry([12345], now_ms=NOW)
    assert engine.store.cancel(12345, now_ms=NOW) is None


def _one_of_each(engine: Engine) -> dict[Label, str]:
    names = {}
    for state in State:
        names[Label(state)] = engine.store.show(engine.put(state, queue="q").row).id
        if state is State.PENDING:  # would be the next to be claimed
            names[Label.PENDING] = ""
            engine.store.cancel(engine.store.find(engine.jobs()[-1].id), now_ms=NOW)
    names[Label.FAILED] = engine.store.show(engine.add(queue="q")).id
    engine.end(engine.must_claim(), FAILED)
    names[Label.SCHEDULED] = engine.store.show(engine.add(queue="q", delay_ms=1)).id
    blocked = engine.add(queue="q", after=(names[Label.FAILED],))
    names[Label.BLOCKED] = engine.store.show(blocked).id
    names[Label.HELD] = engine.store.show(engine.add(queue="q", hold=True)).id
    names[Label.PENDING] = engine.store.show(engine.add(queue="q")).id
    return names


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("label", Label)
def test_list_by_label(engine: Engine, label: Label, *, reverse: bool) -> None:
    names = _one_of_each(engine)
    found = [job.id for job in engine.jobs(label=label, reverse=reverse)]
    assert names[label] in found
    of_pending = {names[part] for part in (Label.PENDING, *PARTS_OF_PENDING)}
    others = set(names.values()) - (of_pending if label is Label.PENDING else {names[label]})
    assert others.isdisjoint(found)
    if label is Label.PENDING:
        assert of_pending == set(found)
    in_order = [job.id for job in engine.jobs() if job.id in set(found)]
    assert found == (in_order[::-1] if reverse else in_order)
    assert [job.id for job in engine.jobs(label=label, queue="q", reverse=reverse)] == found
    assert engine.jobs(label=label, queue="other", reverse=reverse) == []


def test_status_counts_what_list_lists(engine: Engine) -> None:
    _one_of_each(engine)
    for now in (NOW, NOW + 1):  # a scheduled job becomes due, and no service runs
        counts = engine.store.status(now_ms=now).counts
        assert {label: len(engine.jobs(label=label, now_ms=now)) for label in Label} == counts
        assert counts[Label.SCHEDULED] == (now == NOW)


@pytest.mark.parametrize("label", [None, Label.PENDING, Label.COMPLETED])
@pytest.mark.parametrize("reverse", [False, True])
def test_list_goes_on_over_its_pages(engine: Engine, label: Label | None, *, reverse: bool) -> None:
    engine.store.enqueue([NewJob("true")] * 1201, max_retries=3, now_ms=NOW)
    if label is Label.COMPLETED:
        while claim := engine.claim():
            engine.end(claim, OK)
            if claim.key.job == 600:
                break
    expected = list(range(1, 601 if label is Label.COMPLETED else 1202))
    found = [job.seq for job in engine.jobs(label=label, reverse=reverse)]
    assert found == (expected[::-1] if reverse else expected)


@pytest.mark.parametrize("limit", [0, 1, 500, 501, 1000, 1300])
def test_list_stops_at_its_limit(engine: Engine, limit: int) -> None:
    engine.store.enqueue([NewJob("true")] * 1201, max_retries=3, now_ms=NOW)
    jobs = list(engine.store.list(JobFilter(), limit=limit, reverse=True))
    assert len(jobs) == min(limit, 1201)
    assert [job.seq for job in jobs[:2]] == [1201, 1200][: len(jobs)]


def test_an_open_list_delays_no_writer(engine: Engine) -> None:
    engine.store.enqueue([NewJob("true")] * 1000, max_retries=3, now_ms=NOW)
    listing = engine.store.list(JobFilter())
    assert next(listing).seq == 1
    other = engine.another_store()
    for job in (2, 999):
        other.cancel(job, now_ms=NOW)
    states = {job.seq: job.state for job in listing}
    assert states[999] is State.CANCELLED, "a later page shows what was done meanwhile"
    assert len(states) == 999


def test_the_status_of_nothing(engine: Engine) -> None:
    assert engine.store.status(now_ms=NOW) == Summary({}, 0, None)


def test_status_counts_by_queue_what_is_due(engine: Engine) -> None:
    engine.add(queue="b", delay_ms=1)
    engine.add(queue="b", delay_ms=2)
    engine.add(queue="a")
    queues = engine.store.status(now_ms=NOW + 1).queues
    assert list(queues) == ["a", "b"]
    assert (queues["b"][Label.PENDING], queues["b"][Label.SCHEDULED]) == (2, 1)
    assert (queues["a"][Label.PENDING], queues["a"][Label.SCHEDULED]) == (1, 0)


def test_status_counts_the_runs_that_completed_in_the_last_minute(engine: Engine) -> None:
    for ended_ms in (NOW - 60_000, NOW - 59_999, NOW, NOW + 1):
        engine.add()
        engine.end(engine.must_claim(), now_ms=ended_ms)
    engine.add()
    engine.settle(engine.must_claim(), Verdict(State.DEAD, 1, NOW, "exit 1"), FAILED)
    assert engine.store.status(now_ms=NOW).completed_lately == 2
    assert engine.store.completed(since_ms=NOW - 1, now_ms=NOW + 1) == 2


def test_the_oldest_that_could_run_now(engine: Engine) -> None:
    engine.add(run_at_ms=NOW - 30, priority=9)
    oldest = engine.add(run_at_ms=NOW - 50, priority=-9)
    engine.add(run_at_ms=NOW - 40)
    engine.add(delay_ms=60_000)
    assert engine.store.status(now_ms=NOW).oldest_due_ms == NOW - 50
    engine.store.cancel(oldest, now_ms=NOW)
    assert engine.store.status(now_ms=NOW).oldest_due_ms == NOW - 40


def test_a_due_job_that_is_not_promoted_yet_is_pending_and_not_scheduled(
    engine: Engine,
) -> None:
    engine.add(delay_ms=100)
    early, late = (engine.store.status(now_ms=NOW + after) for after in (99, 100))
    assert (early.counts[Label.SCHEDULED], early.oldest_due_ms) == (1, None)
    assert (late.counts[Label.SCHEDULED], late.oldest_due_ms) == (0, NOW + 100)
    assert early.counts[Label.PENDING] == late.counts[Label.PENDING] == 1


def test_retry_gives_the_full_budget_and_keeps_the_history(engine: Engine) -> None:
    job = engine.put(State.DEAD, max_retries=1).row
    assert engine.store.show(job).attempts == 1
    assert engine.store.retry([job], now_ms=NOW + 9) == [engine.store.show(job).id]
    again = engine.store.show(job)
    assert (again.state, again.attempts, again.runs) == (State.PENDING, 0, 1)
    assert (again.next_run_at_ms, again.last_error) == (NOW + 9, "exit 1")
    assert len(engine.store.attempts(job)) == 1
    assert engine.must_claim(now_ms=NOW + 9).key.attempt == 2


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.COMPLETED])
def test_retry_is_for_all_or_none(engine: Engine, state: State) -> None:
    dead = [engine.put(State.DEAD).row for _ in range(2)]
    other = engine.put(state).row
    before = engine.jobs()
    with pytest.raises(ConflictError, match=f"is {state}, not dead; nothing was retried"):
        engine.store.retry([*dead, other], now_ms=NOW)
    assert engine.jobs() == before


def test_retry_takes_a_job_that_is_named_twice(engine: Engine) -> None:
    job = engine.put(State.DEAD).row
    assert len(engine.store.retry([job, job], now_ms=NOW)) == 1


def test_retry_all_is_for_the_dead_alone(engine: Engine) -> None:
    dead = [engine.store.show(engine.put(State.DEAD).row).id for _ in range(3)]
    for state in (State.CANCELLED, State.COMPLETED, State.PROCESSING):
        engine.put(state)
    rest = [job for job in engine.jobs() if job.state is not State.DEAD]
    assert retry_all(engine.store) == dead
    assert retry_all(engine.store) == []
    assert [job for job in engine.jobs() if job.id not in dead] == rest
    engine.check_counters()


def test_settings_are_kept(engine: Engine) -> None:
    assert engine.store.config() == {}
    engine.store.config_set("workers", "8", now_ms=NOW)
    engine.store.config_set("workers", "9", now_ms=NOW)
    assert engine.store.config() == engine.ledger.config() == {"workers": "9"}
    assert engine.store.config_unset("workers")
    assert not engine.store.config_unset("workers")
    assert engine.store.config() == {}


def test_instances_come_and_go(engine: Engine) -> None:
    one, two = engine.register("i"), engine.register("j", pid=20)
    assert _known(engine.store.instances()) == _known(engine.ledger.instances()) == [one, two]
    engine.store.stop("i", now_ms=NOW + 1)
    engine.store.stop("i", now_ms=NOW + 2)
    stopped = one._replace(stop_requested_ms=NOW + 1)
    assert _known(engine.store.instances())[0] == stopped
    found = [engine.ledger.instance(name) for name in ("i", "j", "k")]
    assert [*_known(filter(None, found)), found[2]] == [stopped, two, None]
    with engine.ledger.transaction():
        assert [engine.ledger.unregister(name) for name in ("i", "i", "k")] == [True, False, False]
    assert _known(engine.store.instances()) == [two]


def _known(instances: Iterable[Instance]) -> list[Instance]:
    """Returns the instances without the time since their last renewal, which goes on."""
    return [instance._replace(silent_s=0.0) for instance in instances]


def test_registering_again_keeps_a_request_to_stop(engine: Engine) -> None:
    instance = engine.register()
    engine.store.stop("i", now_ms=NOW)
    engine.register()
    assert _known(engine.store.instances()) == [instance._replace(stop_requested_ms=NOW)]


def test_an_instance_with_claims_is_not_forgotten(engine: Engine) -> None:
    instance = engine.register()
    claim = engine.put(State.PROCESSING).claim
    assert claim is not None
    with engine.ledger.transaction():
        assert not engine.ledger.unregister("i")
    assert _known(engine.store.instances()) == [instance]
    engine.end(claim)
    with engine.ledger.transaction():
        assert engine.ledger.unregister("i")


def _start(engine: Engine, worker: int, pid: int) -> None:
    with engine.ledger.transaction():
        engine.ledger.worker_started("i", worker, pid, now_ms=NOW)


def test_workers_show_the_jobs_that_they_run(engine: Engine) -> None:
    instance: Instance = engine.register()
    for worker in (1, 2):
        _start(engine, worker, 100 + worker)
    engine.add("sleep 9", id="a")
    engine.must_claim(worker=2, now_ms=NOW + 4)
    assert list(engine.store.workers()) == [
        WorkerStatus(instance.id, 1, 101, NOW, None, None, None, None, None),
        WorkerStatus(instance.id, 2, 102, NOW, "a", 1, "sleep 9", NOW + 4, 77),
    ]


def test_workers_come_and_go(engine: Engine) -> None:
    engine.register()
    for worker, pid in ((1, 101), (2, 102), (1, 201)):
        _start(engine, worker, pid)
    assert [worker.pid for worker in engine.store.workers()] == [201, 102]
    with engine.ledger.transaction():
        engine.ledger.worker_gone("i", 1)
    assert [worker.pid for worker in engine.store.workers()] == [102]
    engine.register()
    assert list(engine.store.workers()) == [], "a dispatcher that starts anew begins with none"


def test_the_version_tells_of_commits_of_others(engine: Engine) -> None:
    for database in (engine.ledger, engine.store):  # other tests use the server of this one, too
        assert any(database.version() == database.version() for _ in range(1000))
    before = engine.ledger.version(), engine.store.version()
    engine.another_store().config_set("workers", "8", now_ms=NOW)
    after = engine.ledger.version(), engine.store.version()
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_many_enqueue_at_once(engine: Engine) -> None:
    failures: list[QueuedError] = []
    stores = [engine.another_store() for _ in range(8)]

    def enqueue(number: int) -> None:
        try:
            for _ in range(25):
                stores[number].enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
        except QueuedError as error:
            failures.append(error)

    threads = [threading.Thread(target=enqueue, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(engine.jobs()) == 200


def _types(value: object) -> set[type]:
    """The types of all values in records, lists and mappings."""
    if isinstance(value, tuple | list | frozenset):
        return set().union(*map(_types, value))
    if isinstance(value, dict):
        return _types([*value, *value.values()])
    return {type(value)}


def test_values_have_the_types_of_the_model(engine: Engine) -> None:
    """Messages between the processes are encoded by type: a Decimal is no int."""
    engine.register()
    with engine.ledger.transaction():
        engine.ledger.worker_started("i", 1, 11, now_ms=NOW)
    job, claim = engine.put(State.PROCESSING)
    assert claim is not None
    engine.store.config_set("workers", "8", now_ms=NOW)
    engine.add(delay_ms=5)
    store, ledger = engine.store, engine.ledger
    with ledger.transaction():
        ledger.store_output([(claim.key, Chunk(1, 0, b"x"))])
        found: list[object] = [ledger.running_claims("i"), ledger.counts(), ledger.config()]
        found += [
            ledger.instances(),
            ledger.promote(now_ms=NOW, limit=1),
            ledger.interruptions(job),
        ]
        found += [ledger.version(), ledger.backlog_bytes(), ledger.now_ms()]
    found += [store.workers(), store.status(now_ms=NOW), engine.end(claim, FAILED)]
    found += [store.show(job), store.attempts(job), [*store.output(job, 1, 1)], store.version()]
    found += [store.completed(since_ms=0, now_ms=NOW), engine.jobs(), store.instances()]
    found += [*store.select(JobFilter((Label.DEAD,))), store.find(store.show(job).id)]
    with ledger.transaction():
        found.append(ledger.prune(State.DEAD, after=0, before_ms=NOW, limit=9))
    plain = {int, str, bytes, bool, float, type(None), JobOptions, State, Label, Outcome}
    assert _types(found) <= plain
