"""The invariants of a queue, which `db check` reads in the same words from every engine."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

MOST = 20  # the most problems of one kind that are reported

Read = Callable[..., Iterable[tuple[Any, ...]]]  # takes the name of a statement, and its values

_TOLD = {
    "check_dependents": "job {0} waits for other jobs, and none of them is left",
    "check_counts": "the counter of {1} jobs in the queue {0!r} is {2}, there are {3}",
    "check_claims": "job {0} is running, and run {1} is not recorded",
    "check_open_attempts": "run {1} of job {0} has no end, and is not running",
    "check_lanes": "job {0} of the queue {1!r} has the lane {2}, which is of the queue {3!r}",
    "check_keys": "{1} jobs of the key {0!r} may run at once, and its limit is {2}",
    "check_lines": "job {0} waits for its key {1!r}, which is free",
    "check_starts": "start {2} of the {0} {1!r} is counted as number {3}",
    "check_rated_keys": "the starts of the key {0!r} are never forgotten",
    "check_runs": "job {0} ran {1} times, {2} runs are recorded, the last of them is {3}",
}


def broken(read: Read) -> Iterator[str]:
    """Yields a line for each row that breaks an invariant."""
    for name, told in _TOLD.items():
        for row in islice(read(name), MOST):
            yield told.format(*row)


def left_claims(read: Read, dead: Iterable[str]) -> Iterator[str]:
    """Yields a line for each dead instance with running jobs."""
    for instance in dead:
        if claims := list(read("running_claims", instance=instance)):
            left = "1 running job is" if len(claims) == 1 else f"{len(claims)} running jobs are"
            yield f"{left} left of {instance}, which is dead, until the next service starts"
