"""The state of a job after each ending, and the line that describes the ending."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queued.core import moves
from queued.core.job_options import JobOptions
from queued.core.model import PARTS_OF_PENDING, Label, Outcome, State
from queued.core.moves import MOVES, Operation
from queued.core.runs import Claim, Ending, Key
from queued.core.settlement import Backoff, Verdict, describe, judge, printable_tail
from tests.claims import make_claim

BACKOFF = Backoff(2.0, 3600.0, 0.0, 30.0)
OK = Ending(Outcome.EXIT, exit_code=0)
FAILED = Ending(Outcome.EXIT, exit_code=7)
FAILURES = [
    FAILED,
    Ending(Outcome.SIGNAL, signal="SIGKILL"),
    Ending(Outcome.TIMEOUT),
    Ending(Outcome.LOST),
    Ending(Outcome.SPAWN_ERROR, error="no such directory"),
]
ENDINGS = st.builds(
    Ending,
    outcome=st.sampled_from(Outcome),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.just("SIGTERM"),
    error=st.none() | st.just("reason"),
    tail=st.binary(max_size=300),
)


def _claim(attempts: int = 0, max_retries: int = 3, **options: Any) -> Claim:
    key = Key(job=1, attempt=attempts + 1, token=99)
    given = {"attempts": attempts, "max_retries": max_retries}
    return make_claim(key=key, options=JobOptions(**options), **given)


def _judge(claim: Claim, ending: Ending) -> Verdict:
    return judge(claim, ending, BACKOFF, now_ms=10_000)


def test_exit_0_completes() -> None:
    assert _judge(_claim(attempts=2), OK) == Verdict(State.COMPLETED, 0, 5_000, None)


@pytest.mark.parametrize("ending", FAILURES, ids=lambda ending: ending.outcome)
def test_a_failure_counts_and_waits(ending: Ending) -> None:
    verdict = _judge(_claim(), ending)
    assert verdict == Verdict(State.PENDING, 1, 12_000, describe(ending))
    assert _judge(_claim(attempts=1), ending).next_run_at_ms == 14_000


@pytest.mark.parametrize(
    ("attempts", "max_retries", "state"),
    [
        (0, 0, State.DEAD),
        (0, 1, State.DEAD),
        (0, 2, State.PENDING),
        (1, 2, State.DEAD),
        (1, 3, State.PENDING),
        (2, 3, State.DEAD),
        (5, 3, State.DEAD),
    ],
)
@pytest.mark.parametrize("ending", FAILURES, ids=lambda ending: ending.outcome)
def test_the_last_failure_kills(
    ending: Ending, attempts: int, max_retries: int, state: State
) -> None:
    verdict = _judge(_claim(attempts, max_retries), ending)
    assert (verdict.state, verdict.counted) == (state, 1)
    assert verdict.error


@pytest.mark.parametrize(("now_ms", "due_ms"), [(7_000, 5_000), (1_000, 1_000)])
def test_an_interrupted_run_is_not_counted_and_its_job_is_due(now_ms: int, due_ms: int) -> None:
    """Also if the clock was set back meanwhile."""
    verdict = judge(_claim(2, 3), Ending(Outcome.INTERRUPTED), BACKOFF, now_ms=now_ms)
    assert verdict == Verdict(State.PENDING, 0, due_ms, "interrupted")


def test_a_cancelled_job_is_labelled_cancelled() -> None:
    verdict = _judge(_claim(), Ending(Outcome.CANCELLED, exit_code=1))
    assert verdict == Verdict(State.CANCELLED, 0, 5_000, "cancelled")


def test_exit_codes_that_are_hopeless_kill_at_once() -> None:
    assert _judge(_claim(no_retry_on=(7,)), FAILED).state is State.DEAD
    assert _judge(_claim(no_retry_on=(8,)), FAILED).state is State.PENDING


def test_exit_codes_that_cancel_a_job_do_not_count() -> None:
    cancelled = Verdict(State.CANCELLED, 0, 5_000, "exit 7")
    assert (
        _judge(_claim(2, 3, cancel_on=(7,), no_retry_on=(7,), defer_on=(7,)), FAILED) == cancelled
    )
    assert _judge(_claim(cancel_on=(8,)), FAILED).state is State.PENDING


def test_exit_codes_that_mean_not_now_do_not_count_and_wait_longer_each_time() -> None:
    claim = _claim(2, 3, defer_on=(7,))
    assert _judge(claim, FAILED) == Verdict(State.PENDING, 0, 40_000, "exit 7", 1)
    third = judge(claim, FAILED, BACKOFF, now_ms=10_000, deferrals=2)
    assert third == Verdict(State.PENDING, 0, 130_000, "exit 7", 3)


def test_only_an_exit_has_an_exit_code() -> None:
    timeout = Ending(Outcome.TIMEOUT, exit_code=7)
    assert _judge(_claim(no_retry_on=(7,)), timeout).state is State.PENDING


@given(ENDINGS, st.integers(0, 10), st.integers(0, 10), st.floats(1, 1e300), st.floats(0, 1e7))
def test_every_ending_has_a_legal_verdict(
    ending: Ending, attempts: int, max_retries: int, base: float, maximum: float
) -> None:
    backoff = Backoff(base, maximum, 0.5, 30.0)
    verdict = judge(_claim(attempts, max_retries), ending, backoff, now_ms=10_000)
    assert verdict.state in MOVES[State.PROCESSING, Operation.SETTLE]
    assert (verdict.error is None) is ending.succeeded
    assert verdict.counted in {0, 1}
    if verdict.counted:
        assert verdict.state is State.DEAD or verdict.next_run_at_ms >= 10_000


@given(st.floats(1, 60))
def test_a_retry_never_comes_early(base: float) -> None:
    verdict = judge(_claim(), FAILED, Backoff(base, 3600, 0, 30), now_ms=0)
    assert verdict.next_run_at_ms >= base * 1000


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (FAILED, "exit 7"),
        (Ending(Outcome.EXIT, exit_code=127), "exit 127 (command not found)"),
        (Ending(Outcome.EXIT, exit_code=126), "exit 126 (not executable)"),
        (Ending(Outcome.SIGNAL, signal="SIGSEGV"), "signal SIGSEGV"),
        (Ending(Outcome.TIMEOUT, error="after 3 s"), "timeout: after 3 s"),
        (Ending(Outcome.LOST, tail=b"half a li"), "lost: half a li"),
        (Ending(Outcome.EXIT, exit_code=1, tail=b"one\n two\r\n"), "exit 1: one two"),
        (Ending(Outcome.SPAWN_ERROR, error="no memory"), "spawn-error: no memory"),
    ],
)
def test_how_it_is_told(ending: Ending, line: str) -> None:
    assert describe(ending) == line


def test_a_limit_of_cpu_time_is_named_if_it_was_reached() -> None:
    killed = Ending(Outcome.SIGNAL, signal="SIGKILL", cpu_ms=2_003)
    assert describe(killed, {"cpu": 2}) == "signal SIGKILL (limits.cpu is 2 s)"
    assert describe(killed._replace(cpu_ms=1_500), {"cpu": 2}) == "signal SIGKILL"
    assert describe(killed, {"files": 2}) == "signal SIGKILL"


@given(st.binary(max_size=1000))
def test_a_tail_is_one_harmless_line(tail: bytes) -> None:
    shown = printable_tail(tail)
    assert shown.isprintable()
    assert len(shown) <= 200


def test_a_long_tail_shows_its_end() -> None:
    shown = printable_tail(b"a" * 500 + b"the end", limit=20)
    assert shown == "\N{HORIZONTAL ELLIPSIS}" + "a" * 12 + "the end"


def test_labels_are_the_states_and_the_parts_of_pending() -> None:
    assert set(Label) - set(PARTS_OF_PENDING) == {Label(state) for state in State}


def test_the_picture_shows_every_state() -> None:
    assert moves.__doc__
    assert all(state in moves.__doc__ for state in State)
    assert {state for state, _ in MOVES} == {
        State.PENDING,
        State.PROCESSING,
        State.DEAD,
        State.CANCELLED,
    }
