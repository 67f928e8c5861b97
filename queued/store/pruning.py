"""Removes ended jobs with their history and output, a bounded part in each transaction.

Jobs are scanned in the order of enqueueing, because an index by the time of the end would make each
settle a seventh slower. A job cannot end before it was enqueued, so the scan stops at the first
page of jobs that were enqueued after the cut-off.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from queued.core.model import State
from queued.core.records import PruneStep

PIECES = 100  # of output that one transaction deletes: 6 MiB
ATTEMPTS = 1000  # rows of runs that one transaction deletes


class Removal(NamedTuple):
    """The number of jobs that one transaction has removed, of those that were given."""

    jobs: int
    complete: bool  # whether all jobs that were given were removed, or need not be


class Bounds(NamedTuple):
    """The jobs that a step of a scan may read and remove; see `Ledger.prune`."""

    after: int
    before_ms: int
    limit: int


def step(
    page: Sequence[tuple[Any, ...]],
    state: State,
    bounds: Bounds,
    remove: Callable[[list[int]], Removal],
) -> PruneStep:
    """Removes jobs of a page of (row, state, time of enqueueing, time of the last move).

    See `Ledger.prune`. Must run inside a transaction.
    """
    after, before_ms, limit = bounds
    ended = [(seq, updated) for seq, found, _, updated in page if found == state]
    removal = remove([seq for seq, updated in ended if updated < before_ms])
    young = all(created >= before_ms for _, _, created, _ in page)
    return PruneStep(
        removed=removal.jobs,
        after=page[-1][0] if page and removal.complete else after,
        done=removal.complete and (young or len(page) < limit),
        oldest_ms=min((ms for _, ms in ended if ms >= before_ms), default=None),
    )
