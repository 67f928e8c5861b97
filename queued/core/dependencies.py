"""What a job waits for: the end of other jobs, each under a condition."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from queued.core.errors import UsageError
from queued.core.model import Label, NewJob


class Dependency(NamedTuple):
    """A job that another one waits for.

    `condition`: `after` (it completes), `after_any` (it ends) or `after_fail` (it becomes dead).
    `status`: `waiting`, `met` or `failed`, which means that it cannot be met any more.
    """

    id: str
    label: Label
    condition: str
    status: str


def must_be_acyclic(jobs: Iterable[tuple[str, NewJob]]) -> None:
    """Raises UsageError if some of these new jobs, given with their ids, wait for each other."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name, job in jobs:
        sorter.add(name, *(other for _, other in job.dependencies))
        if job.array_id is not None:
            sorter.add(job.array_id, name)
    try:
        sorter.prepare()
    except CycleError as error:
        msg = f"jobs wait for each other: {' for '.join(error.args[1][::-1])}"
        raise UsageError(msg) from None
