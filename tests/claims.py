"""A claim for tests that need no database."""

from typing import Any

from queued.core.job_options import JobOptions
from queued.core.runs import Claim, Key


def make_claim(job: int = 1, **changes: Any) -> Claim:
    """Returns the first claim of a job, with these fields changed."""
    claim = Claim(Key(job, 1, 10 * job), "a", "q", "true", JobOptions(), 0, 3, 1, 5_000, 6_000)
    return claim._replace(**changes)
