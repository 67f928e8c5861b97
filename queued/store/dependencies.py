"""Moves the jobs that wait for the end of other jobs, by the same steps on every engine.

A job that has ended or was retried is marked by the statement that moves it, if other jobs wait for
it. The dispatcher takes the marks in the same turn, and tells the dependents; each of them that
ends is marked in turn.
"""

import json
from collections.abc import Callable, Sequence

from queued.core.dependencies import Dependency, must_be_acyclic
from queued.core.errors import NotFoundError, UsageError
from queued.core.model import Label, NewJob
from queued.store.statements import Statements

_LIMIT = 1000  # conditions that one transaction changes
_MOST_OF_ARRAYS = 100_000  # conditions that jobs which are added at once have on arrays
_MOST_CHANGES = 100  # steps along a chain of jobs in one transaction


class Dependencies:
    """The dependencies of jobs in a database; `array` makes a value of row numbers.

    All methods must run inside a transaction.
    """

    def __init__(self, database: Statements, array: Callable[[Sequence[int]], object]) -> None:
        self._database = database
        self._array = array

    def add(self, added: Sequence[tuple[str, NewJob]], *, now_ms: int) -> None:
        """Makes new jobs, given with their ids, wait for others.

        The others are named by their ids, or by the names of arrays. Raises NotFoundError if there
        is no such other job, UsageError if jobs wait for each other, or for too many.
        """
        must_be_acyclic(added)
        named = [
            (name, other, condition) for name, job in added for condition, other in job.dependencies
        ]
        pairs = json.dumps(named)
        ((of_arrays,),) = self._database.rows("count_of_arrays", pairs=pairs)
        if of_arrays > _MOST_OF_ARRAYS:
            few = "let one job wait for the array, and the others for that job"
            msg = f"too many jobs would wait for all jobs of an array; {few}"
            raise UsageError(msg)
        self._must_find_none("unknown_job", pairs)
        self._database.run("await_jobs", pairs=pairs)
        jobs = self._database.rows("add_dependencies", pairs=pairs)
        self._move(jobs, now_ms)
        self._must_find_none("missing_dependency", pairs)

    def _must_find_none(self, statement: str, pairs: str) -> None:
        for name, other in self._database.rows(statement, pairs=pairs):
            msg = f"no job {other!r}, for which {name} is to wait"
            raise NotFoundError(msg)

    def tell(self, *, now_ms: int) -> bool:
        """Tells dependents that jobs have ended or were retried, a bounded number of them.

        Returns whether there was one.
        """
        self._database.run("lock_dependencies")
        left = _LIMIT
        for step in range(_MOST_CHANGES):
            changed = self._database.rows("take_changes", limit=left)
            if not changed:
                return step > 0
            jobs = self._array([job for (job,) in changed])
            told = self._database.rows("mark_dependencies", jobs=jobs, limit=left)
            self._move(told, now_ms)
            left -= len(told)
            if left == 0:
                self._database.run("put_back_changes", jobs=jobs)
                break
        return True

    def _move(self, jobs: Sequence[tuple[int]], now_ms: int) -> None:
        if jobs:
            self._database.run(
                "move_dependents",
                jobs=self._array([*dict.fromkeys(job for (job,) in jobs)]),
                now=now_ms,
            )

    def wait_again(self, jobs: Sequence[int]) -> None:
        """Makes retried jobs wait for those of their dependencies that have not ended."""
        self._database.run("wait_again", jobs=self._array(jobs))
        self._database.run("block_again", jobs=self._array(jobs))

    def removable(self, jobs: Sequence[int]) -> list[int]:
        """Returns those of some ended jobs whose dependents were told of the end."""
        return [job for (job,) in self._database.rows("removable", jobs=self._array(jobs))]

    def of(self, job: int, *, limit: int) -> list[Dependency]:
        """Returns what a job waits for, the conditions that are not met first."""
        rows = self._database.rows("dependencies", job=job, limit=limit)
        return [Dependency(*row)._replace(label=Label(row[1])) for row in rows]
