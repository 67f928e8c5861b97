"""The interface of a database engine for changes of single jobs, and for what a job reads."""

from typing import Protocol

from queued.core.model import JobChanges


class Edits(Protocol):
    """Verbs of queuectl for single jobs. Every engine implements them."""

    def edit(self, job: int, changes: JobChanges, *, now_ms: int) -> bool:
        """Changes a pending job; returns False if it is not pending.

        Raises UsageError if the changed options are not valid together.
        """
        ...

    def hold(self, job: int, *, now_ms: int) -> bool:
        """Keeps a pending job from being claimed; returns False if it is not pending."""
        ...

    def release(self, job: int, *, now_ms: int) -> bool:
        """Undoes `hold`; returns False if the job is not held."""
        ...

    def run_now(self, job: int, *, now_ms: int) -> bool:
        """Makes a pending job due; returns False if it is blocked or not pending."""
        ...

    def signal(self, job: int, name: str) -> bool:
        """Requests that a signal is sent to the run of a job; returns False if it does not run."""
        ...

    def input(self, job: int) -> bytes:
        """Returns the standard input of a job; empty if it has none."""
        ...
