"""What jobs require of a service: lanes, the order of claiming over them, and drained hosts."""

from queued.core.model import Instance, State
from queued.core.records import Share
from queued.core.runs import Claim
from tests.store.engine import NOW, Engine


def _lanes(engine: Engine, after: int = -1) -> dict[str, int]:
    with engine.ledger.transaction():
        return {
            ",".join(sorted(one.requires)): one.number
            for one in engine.ledger.lanes(after=after)
            if one.queue == "default"
        }


def _claims(engine: Engine, count: int, *required: str, token: int = 100) -> list[Claim]:
    lanes = [_lanes(engine)[one] for one in required]
    with engine.ledger.transaction():
        return engine.ledger.claim(
            "i", [*range(1, count + 1)], token, now_ms=NOW, shares=[Share(lanes=lanes)]
        )


def test_each_queue_and_set_of_labels_has_a_lane_in_the_order_of_use(
    engine: Engine,
) -> None:
    assert _lanes(engine) == {"": 0}
    for requires in ("gpu", "zone=a", "gpu", "gpu,zone=a", ""):
        engine.add(requires=requires)
    found = _lanes(engine)
    assert [*found] == ["", "gpu", "zone=a", "gpu,zone=a"]
    engine.add(requires="\u00e9")
    assert [*_lanes(engine, after=max(found.values()))] == ["\u00e9"]
    wanted = ["gpu", "zone=a", "gpu", "gpu,zone=a", "", "\u00e9"]
    assert [",".join(sorted(job.requires)) for job in engine.jobs()] == wanted
    last = max(_lanes(engine).values())
    for queue in ("mail", "default", "mail"):
        engine.add(requires="gpu", queue=queue)
    with engine.ledger.transaction():
        (made,) = engine.ledger.lanes(after=last)
    assert (made.queue, made.requires) == ("mail", frozenset({"gpu"}))


def test_a_job_is_claimed_only_with_its_lane(engine: Engine) -> None:
    engine.add(requires="gpu")
    assert engine.claim() is None
    assert _claims(engine, 1, "") == []
    (claim,) = _claims(engine, 1, "gpu")
    with engine.ledger.transaction():
        assert engine.ledger.unclaim(claim.key, now_ms=NOW)
    assert _claims(engine, 1, "") == []
    assert engine.store.cancel(claim.key.job, now_ms=NOW) is State.CANCELLED
    engine.store.retry([claim.key.job], now_ms=NOW)
    assert _claims(engine, 1, "") == []
    assert len(_claims(engine, 2, "", "gpu", token=200)) == 1


def test_the_order_of_claiming_holds_over_all_lanes(engine: Engine) -> None:
    """The first job gets the first worker and the smallest token, whatever it requires."""
    engine.add(id="e", requires="gpu", priority=-1)
    engine.add(id="c", requires="gpu", run_at_ms=NOW)
    engine.add(id="d", requires="zone=a", run_at_ms=NOW)
    engine.add(id="b", run_at_ms=NOW - 1)
    engine.add(id="other", requires="host:x", priority=9)
    engine.add(id="a", requires="zone=a", priority=1)
    own = ("", "gpu", "zone=a")
    claims = _claims(engine, 3, *own)
    first = [(one.id, one.worker, one.key.token) for one in claims]
    assert first == [("a", 1, 100), ("b", 2, 101), ("c", 3, 102)]
    assert [one.id for one in _claims(engine, 9, *own, token=200)] == ["d", "e"]
    assert [one.id for one in _claims(engine, 9, "host:x", token=300)] == ["other"]


def test_what_ready_jobs_require(engine: Engine) -> None:
    engine.add(requires="gpu")
    engine.add(requires="gpu,zone=a", priority=3)
    engine.add(requires="gpu,zone=a")
    assert engine.store.cancel(engine.add(requires="gone"), now_ms=NOW) is State.CANCELLED
    engine.add(requires="later", run_at_ms=NOW + 1)
    with engine.ledger.transaction():
        seen = engine.ledger.required_now()
    expected = {frozenset({"gpu"}), frozenset({"gpu", "zone=a"})}
    assert set(seen) == set(engine.store.required_now()) == expected


def test_the_oldest_due_job_is_found_in_any_lane(engine: Engine) -> None:
    engine.add(run_at_ms=NOW - 5)
    engine.add(requires="gpu", run_at_ms=NOW - 7, priority=-2)
    engine.add(requires="gpu", run_at_ms=NOW - 6, priority=2)
    assert engine.store.status(now_ms=NOW).oldest_due_ms == NOW - 7


def test_the_labels_of_an_instance_can_be_replaced(engine: Engine) -> None:
    instance = Instance("i", "host", 7, "1", NOW, None, labels="host:host")
    with engine.ledger.transaction():
        engine.ledger.register(instance, now_ms=NOW)
        engine.ledger.relabel("i", "gpu,host:host")
        found = engine.ledger.instance("i")
    assert found is not None
    assert found.labels == "gpu,host:host"
    assert [one.labels for one in engine.store.instances()] == ["gpu,host:host"]


def test_a_host_is_drained_until_it_is_resumed(engine: Engine) -> None:
    engine.store.drain("a", now_ms=NOW)
    engine.store.drain("a", now_ms=NOW + 1)
    engine.store.drain("b", now_ms=NOW + 2)
    with engine.ledger.transaction():
        seen = engine.ledger.drained_hosts()
    assert seen == engine.store.drained_hosts() == {"a": NOW, "b": NOW + 2}
    assert engine.store.resume("a")
    assert not engine.store.resume("a")
    assert engine.store.drained_hosts() == {"b": NOW + 2}
