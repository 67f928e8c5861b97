"""Claims: their order, when a job becomes due, and the fence around each of them."""

import pytest

from queued.core.job_options import JobOptions
from queued.core.model import Label, Outcome, State
from queued.core.runs import Chunk, Claim, Ending, Key
from queued.core.settlement import Settlement, Verdict, judge
from tests.store.engine import BACKOFF, FAILED, NOW, OK, Engine

DONE = Verdict(State.COMPLETED, 0, NOW, None)
STALE = {
    "job": lambda key: key._replace(job=key.job + 1),
    "attempt": lambda key: key._replace(attempt=key.attempt + 1),
    "token": lambda key: key._replace(token=key.token + 1),
}


def _order(engine: Engine, now_ms: int = NOW) -> list[str]:
    names = []
    while (claim := engine.claim(now_ms=now_ms)) is not None:
        names.append(claim.id)
    return names


def test_an_empty_queue_has_nothing_to_claim(engine: Engine) -> None:
    assert engine.claim() is None
    assert engine.promote(now_ms=NOW) is None


def test_a_claim_carries_what_a_run_needs(engine: Engine) -> None:
    job = engine.add(
        "echo $HOME",
        id="a",
        queue="q",
        options='{"nice": 5}',
        max_retries=7,
        run_at_ms=NOW - 9,
        expires_at_ms=NOW + 99,
    )
    claim = engine.must_claim(now_ms=NOW + 5, worker=3, token=2**63 - 1)
    key = Key(job, 1, 2**63 - 1)
    times = (NOW - 9, NOW + 5, NOW, NOW + 99)  # due, claimed, created, expires
    assert claim == Claim(key, "a", "q", "echo $HOME", JobOptions(nice=5), 0, 7, 3, *times)
    with engine.ledger.transaction():
        assert engine.ledger.running_claims("i") == [claim]


def test_the_order_is_priority_then_due_time_then_enqueueing(engine: Engine) -> None:
    engine.add(id="third", run_at_ms=NOW - 5)
    engine.add(id="fourth", run_at_ms=NOW)
    engine.add(id="fifth", run_at_ms=NOW)
    engine.add(id="last", priority=-1, run_at_ms=NOW - 99)
    engine.add(id="second", priority=5, run_at_ms=NOW)
    engine.add(id="first", priority=5, run_at_ms=NOW - 1)
    assert _order(engine) == ["first", "second", "third", "fourth", "fifth", "last"]


def test_a_job_waits_for_its_time(engine: Engine) -> None:
    job = engine.add(delay_ms=100)
    assert engine.store.show(job).label is Label.SCHEDULED
    assert engine.promote(now_ms=NOW + 99) == NOW + 100
    assert engine.claim(now_ms=NOW + 99) is None
    assert engine.promote(now_ms=NOW + 100) is None
    assert engine.store.show(job).label is Label.PENDING
    assert engine.must_claim(now_ms=NOW + 100).key.job == job


def test_promoting_takes_the_earliest_and_says_when_to_come_again(engine: Engine) -> None:
    for delay in (30, 10, 20):
        engine.add(id=f"after-{delay}", delay_ms=delay)
    assert engine.promote(now_ms=NOW + 30, limit=2) == NOW + 30
    assert _order(engine) == ["after-10", "after-20"]
    assert engine.promote(now_ms=NOW + 30, limit=2) is None
    assert _order(engine) == ["after-30"]


def test_a_failed_job_comes_back_after_its_delay_and_not_before(engine: Engine) -> None:
    job = engine.add()
    claim = engine.must_claim()
    assert engine.end(claim, FAILED) is State.PENDING
    failed = engine.store.show(job)
    assert (failed.label, failed.attempts, failed.runs) == (Label.FAILED, 1, 1)
    assert (failed.next_run_at_ms, failed.last_error) == (NOW + 2000, "exit 1: no luck")
    engine.promote(now_ms=NOW + 1999)
    assert engine.claim(now_ms=NOW + 1999) is None
    engine.promote(now_ms=NOW + 2000)
    assert engine.must_claim(now_ms=NOW + 2000).key == Key(job, 2, 77)


def test_a_retry_without_delay_is_ready_at_once(engine: Engine) -> None:
    engine.add()
    engine.settle(engine.must_claim(), Verdict(State.PENDING, 1, NOW, "exit 1"), FAILED)
    assert engine.must_claim().attempts == 1


@pytest.mark.parametrize("part", STALE)
def test_a_stale_key_settles_nothing(engine: Engine, part: str) -> None:
    job, claim = engine.running()
    before = engine.store.show(job), engine.store.attempts(job)
    stale = claim._replace(key=STALE[part](claim.key))
    assert engine.end(stale, FAILED) is None
    assert (engine.store.show(job), engine.store.attempts(job)) == before
    assert engine.end(claim) is State.COMPLETED


def test_an_attempt_has_its_whole_story(engine: Engine) -> None:
    job, claim = engine.running()
    running = engine.store.attempts(job)[0]
    assert (running.number, running.instance, running.worker) == (1, "i", 1)
    assert (running.started_ms, running.ended_ms, running.outcome) == (NOW, None, None)
    ending = Ending(
        Outcome.SIGNAL, None, "SIGKILL", None, NOW + 1, NOW + 9, 8, 3, 2048, 70, 7, b"the end"
    )
    engine.end(claim, ending, now_ms=NOW + 10)
    assert engine.store.attempts(job) == [
        running._replace(
            started_ms=NOW + 1,
            ended_ms=NOW + 9,
            outcome=Outcome.SIGNAL,
            signal="SIGKILL",
            error="signal SIGKILL: the end",
            ran_ms=8,
            cpu_ms=3,
            peak_kib=2048,
            stdout_bytes=70,
            stderr_bytes=7,
        )
    ]


def test_an_attempt_without_times_ends_when_it_is_settled(engine: Engine) -> None:
    job, claim = engine.running()
    engine.end(claim, Ending(Outcome.LOST), now_ms=NOW + 3)
    assert engine.store.attempts(job)[0].ended_ms == NOW + 3


def test_output_is_kept_in_order_and_read_from_any_place(engine: Engine) -> None:
    job, claim = engine.running()
    pieces = [Chunk(1, 10 * n, b"\xff" * 10) for n in range(40)]
    with engine.ledger.transaction():
        printed = [*pieces[::-1], Chunk(2, 0, b"error")]
        engine.ledger.store_output([(claim.key, piece) for piece in printed])
    assert list(engine.store.output(job, 1, 1)) == pieces
    assert list(engine.store.output(job, 1, 1, start=390)) == pieces[39:]
    assert list(engine.store.output(job, 1, 1, start=391)) == []
    assert list(engine.store.output(job, 1, 2)) == [Chunk(2, 0, b"error")]
    assert list(engine.store.output(job, 2, 1)) == []


def test_a_piece_that_comes_again_is_the_same_piece_or_a_longer_one(engine: Engine) -> None:
    job, claim = engine.running()
    with engine.ledger.transaction():
        for contents in ((b"ab", b"abc"), (b"abcd", b"abcdef", b"abcde"), (b"abc",)):
            again = [(claim.key, Chunk(1, 0, content)) for content in contents]
            engine.ledger.store_output(again)
    assert list(engine.store.output(job, 1, 1)) == [Chunk(1, 0, b"abcdef")]


@pytest.mark.parametrize("part", STALE)
def test_output_with_a_stale_key_is_not_kept(engine: Engine, part: str) -> None:
    job, claim = engine.running()
    with engine.ledger.transaction():
        engine.ledger.store_output([(STALE[part](claim.key), Chunk(1, 0, b"late"))])
    engine.end(claim)
    with engine.ledger.transaction():
        engine.ledger.store_output([(claim.key, Chunk(1, 0, b"later"))])
    assert [list(engine.store.output(job, number, 1)) for number in (1, 2)] == [[], []]


def test_trimming_drops_what_lies_between_head_and_tail(engine: Engine) -> None:
    job, claim = engine.running()
    with engine.ledger.transaction():
        printed = [Chunk(stream, at, b"x" * 10) for at in range(0, 60, 10) for stream in (1, 2)]
        engine.ledger.store_output([(claim.key, chunk) for chunk in printed])
        engine.ledger.trim_output(claim.key, 1, head_end=20, tail_start=40)
    assert [piece.position for piece in engine.store.output(job, 1, 1)] == [0, 10, 40, 50]
    assert len(list(engine.store.output(job, 1, 2))) == 6


def test_interruptions_are_counted_from_the_last_other_ending(engine: Engine) -> None:
    other, row = engine.add(), engine.add(priority=1)
    counts = []
    for outcome in (Outcome.INTERRUPTED, Outcome.INTERRUPTED, Outcome.LOST, Outcome.INTERRUPTED):
        claim = engine.must_claim()
        with engine.ledger.transaction():
            counts.append(engine.ledger.interruptions(row))
        engine.settle(claim, Verdict(State.PENDING, 0, NOW, "gone"), Ending(outcome))
    with engine.ledger.transaction():
        counts += [engine.ledger.interruptions(row), engine.ledger.interruptions(other)]
    assert counts == [0, 1, 2, 0, 1, 0]


def test_of_deferred_runs_in_a_row_the_last_one_is_kept(engine: Engine) -> None:
    """Runs 1 to 3 and 5 to 6 are deferred, run 4 is interrupted."""
    row = engine.add(options='{"defer_on": [1]}')
    for number in range(1, 7):
        claim = engine.must_claim(now_ms=NOW + number)
        with engine.ledger.transaction():
            before = engine.ledger.deferrals(row)
            engine.ledger.store_output([(claim.key, Chunk(1, 0, b"%d" % number))])
        ending = Ending(Outcome.INTERRUPTED) if number == 4 else FAILED
        verdict = judge(claim, ending, BACKOFF, now_ms=NOW, deferrals=before)
        engine.settle(claim, verdict._replace(next_run_at_ms=NOW - 1), ending)
    kept = [(run.number, run.deferrals) for run in engine.store.attempts(row)]
    assert kept == [(3, 3), (4, 0), (6, 2)]
    printed = {n: b"".join(c.content for c in engine.store.output(row, n, 1)) for n in range(1, 7)}
    assert printed == {1: b"", 2: b"", 3: b"3", 4: b"4", 5: b"", 6: b"6"}


def test_running_claims_are_those_of_the_instance_that_are_not_settled(engine: Engine) -> None:
    claims = [engine.put(State.PROCESSING).claim for _ in range(3)]
    assert claims[1] is not None
    engine.end(claims[1])
    with engine.ledger.transaction():
        assert engine.ledger.running_claims("i") == [claims[0], claims[2]]
        assert engine.ledger.running_claims("j") == []


def test_a_failed_turn_leaves_nothing(engine: Engine) -> None:
    job = engine.add()
    before = engine.store.show(job)
    with pytest.raises(KeyError), engine.ledger.transaction():
        assert engine.ledger.claim("i", [1], 77, now_ms=NOW)
        raise KeyError
    assert engine.store.show(job) == before
    assert engine.store.attempts(job) == []
    assert engine.must_claim().key.job == job


def test_a_turn_that_need_not_be_durable_is_seen_all_the_same(engine: Engine) -> None:
    job = engine.add()
    with engine.ledger.transaction(durable=False):
        (claim,) = engine.ledger.claim("i", [1], 77, now_ms=NOW)
    assert engine.store.show(job).state is State.PROCESSING
    assert engine.end(claim) is State.COMPLETED


def test_many_moves_make_one_turn(engine: Engine) -> None:
    job = engine.add()
    with engine.ledger.transaction():
        (claim,) = engine.ledger.claim("i", [1], 77, now_ms=NOW)
        engine.ledger.store_output([(claim.key, Chunk(1, 0, b"hello"))])
        engine.ledger.settle([Settlement(claim, OK, DONE)], now_ms=NOW)
        assert engine.store.show(job).state is State.PENDING
    assert engine.store.show(job).state is State.COMPLETED
    assert list(engine.store.output(job, 1, 1)) == [Chunk(1, 0, b"hello")]


def test_several_claims_at_once_are_in_the_order_of_the_workers_that_get_them(
    engine: Engine,
) -> None:
    for name, priority in (("third", 0), ("first", 9), ("fourth", -1), ("second", 9)):
        engine.add(id=name, priority=priority)
    with engine.ledger.transaction():
        claims = engine.ledger.claim("i", [5, 2, 5], 70, now_ms=NOW)
        assert [(c.id, c.worker, c.key.token) for c in claims] == [
            ("first", 5, 70), ("second", 2, 71), ("third", 5, 72),
        ]  # fmt: skip
        assert engine.ledger.running_claims("i") == claims
        rest = engine.ledger.claim("i", [1, 2, 3], 73, now_ms=NOW)
        assert [(c.id, c.worker, c.key.token) for c in rest] == [("fourth", 1, 73)]
        assert engine.ledger.claim("i", [1], 76, now_ms=NOW) == []
    engine.check_counters()


def test_of_several_endings_at_once_each_counts_for_itself(engine: Engine) -> None:
    for name in "abc":
        engine.add(id=name)
    with engine.ledger.transaction():
        a, b, c = engine.ledger.claim("i", [1, 2, 3], 70, now_ms=NOW)
        engine.ledger.unclaim(b.key, now_ms=NOW)
        (again,) = engine.ledger.claim("i", [2], 80, now_ms=NOW)
        stale = a._replace(key=a.key._replace(token=1))
        dead = Verdict(State.DEAD, 1, NOW, "exit 1")
        endings = [
            Settlement(stale, OK, DONE),
            Settlement(c, FAILED, dead),
            Settlement(b, FAILED, dead),
            Settlement(again, OK, DONE),
            Settlement(c, OK, DONE),
        ]
        states = engine.ledger.settle(endings, now_ms=NOW)
    assert again.key.job == b.key.job
    assert states[:2] == [None, State.DEAD]
    assert engine.store.show(a.key.job).state is State.PROCESSING
    assert engine.store.show(b.key.job).state is State.COMPLETED
    assert [one.outcome for one in engine.store.attempts(b.key.job)] == [Outcome.EXIT]
    (lost,) = engine.store.attempts(c.key.job)
    assert lost.exit_code == 1
    assert states[2:] == [None, State.COMPLETED, None]


@pytest.mark.parametrize("shift", [3_600_000, -3_600_000])
def test_waiting_retries_move_along_when_the_clock_is_set(engine: Engine, shift: int) -> None:
    failed = engine.add()
    engine.end(engine.must_claim(), FAILED)
    scheduled = engine.add(delay_ms=5000)
    ready = engine.add()

    def look(boot_id: str, offset_ms: int) -> int:
        with engine.ledger.transaction():
            return engine.ledger.shift_clock(boot_id=boot_id, offset_ms=offset_ms, tolerance_ms=50)

    moved = shift if engine.host_clock else 0
    assert look("one", 1000) == 0
    assert look("one", 1050) == 0
    assert look("one", 1000 + shift) == moved
    assert look("one", 1000 + shift) == 0
    run_at = [engine.store.show(job).next_run_at_ms for job in (failed, scheduled, ready)]
    assert run_at == [NOW + 2000 + moved, NOW + 5000, NOW]
    assert look("two", 9999) == 0, "the time since boot begins anew"
    assert look("two", 9999) == 0


def test_small_steps_of_the_clock_add_up(engine: Engine) -> None:
    with engine.ledger.transaction():
        shifts = [
            engine.ledger.shift_clock(boot_id="one", offset_ms=offset, tolerance_ms=50)
            for offset in range(0, 161, 20)
        ]
    assert sum(shifts) >= 110 if engine.host_clock else not any(shifts)


def test_claims_are_in_their_order_whatever_the_clock_says(engine: Engine) -> None:
    first, second = engine.add(priority=1), engine.add()
    engine.register()
    with engine.ledger.transaction():
        engine.ledger.worker_started("i", 1, 11, now_ms=NOW)
    engine.must_claim(now_ms=NOW + 3_600_000, token=5)
    engine.must_claim(now_ms=NOW, token=6)
    with engine.ledger.transaction():
        claims = engine.ledger.running_claims("i")
    assert [claim.key.job for claim in claims] == [first, second]
    (worker,) = engine.store.workers()
    assert worker.since_ms == NOW + 3_600_000, (
        "the worker runs the first, and has prefetched the second"
    )
