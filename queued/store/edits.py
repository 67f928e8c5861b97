"""The interface of a database engine for changes of jobs that are few, and for what a job reads."""

from collections.abc import Sequence
from typing import Protocol

from queued.core.job_changes import JobChanges
from queued.core.records import ANY_JOB, JobFilter


class Edits(Protocol):
    """Verbs of queuectl for jobs. Every engine implements them.

    Each verb changes in one transaction those of the jobs that match `wanted` then and that are in
    a state for the verb, and returns their ids.
    """

    def edit(
        self,
        jobs: Sequence[int],
        changes: JobChanges,
        wanted: JobFilter = ANY_JOB,
        *,
        now_ms: int,
    ) -> Sequence[str]:
        """Changes pending jobs.

        Raises UsageError if the changed options of a job are not valid together.
        """
        ...

    def hold(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """Keeps pending jobs from being claimed."""
        ...

    def release(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """Undoes `hold`."""
        ...

    def run_now(
        self, jobs: Sequence[int], wanted: JobFilter = ANY_JOB, *, now_ms: int
    ) -> Sequence[str]:
        """Makes pending jobs due that are not blocked."""
        ...

    def signal(self, jobs: Sequence[int], name: str, wanted: JobFilter = ANY_JOB) -> Sequence[str]:
        """Requests that a signal is sent to the runs of jobs."""
        ...

    def first(self, queue: str, key: str | None) -> int | None:
        """Returns the first of the ready jobs of a queue and of the line of a key."""
        ...

    def input(self, job: int) -> bytes:
        """Returns the standard input of a job; empty if it has none."""
        ...
