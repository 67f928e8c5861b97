"""What ends a service by itself, as the flags of `queued` give it."""

from typing import NamedTuple


class ServeUntil(NamedTuple):
    """The conditions of which the first ends the service; without them only a stop ends it."""

    drained: bool = False  # nothing that the service may claim is due, and none of its jobs runs
    max_jobs: int | None = None  # so many runs have ended; no more are begun
    for_s: float | None = None  # this long after its start
    strict: bool = False  # ends nothing: the exit code says whether a job has become dead
