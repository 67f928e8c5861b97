"""What an ending makes of its job, where no service shows it."""

from queued.core.job_options import JobOptions
from queued.core.model import Claim, Ending, Key, Outcome, State
from queued.core.settlement import Backoff, Verdict, judge


def test_an_interrupted_job_is_due_though_the_clock_was_set_back() -> None:
    claim = Claim(Key(1, 1, 1), "job", "default", "true", JobOptions(), 0, 3, 1, 5_000, 6_000)
    ending = Ending(Outcome.INTERRUPTED)
    for now_ms, due_ms in ((7_000, 5_000), (1_000, 1_000)):
        verdict = judge(claim, ending, Backoff(2, 3600, 0), now_ms=now_ms)
        assert verdict == Verdict(State.PENDING, 0, due_ms, "interrupted")
