"""A claim, and the start of a run, for tests that need no database."""

from typing import Any

from queued.core.job_options import JobOptions
from queued.core.runs import Claim, Key
from queued.service.ipc.messages import Run


def make_claim(job: int = 1, **changes: Any) -> Claim:
    """Returns the first claim of a job, with these fields changed."""
    claim = Claim(Key(job, 1, 10 * job), "a", "q", "true", JobOptions(), 0, 3, 1, 5_000, 6_000)
    return claim._replace(**changes)


def make_run(**fields: Any) -> Run:
    """Returns the message that starts a job `a` with the command `true`, with other fields."""
    given: dict[str, Any] = {
        "key": Key(1, 1, 1), "recorded": [], "id": "a", "created_ms": 0, "queue": "default",
        "command": "true", "max_retries": 1, "timeout_s": 0.0, "kill_grace_s": 1.0,
        "output_limit": 1, "clean": False,
    }  # fmt: skip
    return Run(**(given | fields))
