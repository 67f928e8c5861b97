"""Removes ended jobs with their history and output, a bounded part in each transaction.

Jobs are scanned in the order of enqueueing, because an index by the time of the end would make each
settle a seventh slower. A job cannot end before it was enqueued, so the scan stops at the first
page of jobs that were enqueued after the cut-off.
"""

from typing import NamedTuple

from queued.core.model import State
from queued.store.protocols import PruneStep
from queued.store.sqlite.connection import Database

_PIECES = 100  # of output that one transaction deletes: 6 MiB
_ATTEMPTS = 1000


class Removal(NamedTuple):
    """The number of jobs that one transaction has removed, of those that were given."""

    jobs: int
    complete: bool  # whether all jobs that were given were removed


def walk(database: Database, state: State, *, after: int, before_ms: int, limit: int) -> PruneStep:
    """See `Ledger.prune`. Must run inside a transaction."""
    name = "prunable_completed" if state is State.COMPLETED else "prunable"
    rows = database.rows(name, state=state, after=after, limit=limit)
    ended = [(seq, updated) for seq, found, _, updated in rows if found == state]
    removal = remove(database, [seq for seq, updated in ended if updated < before_ms])
    young = all(created >= before_ms for _, _, created, _ in rows)
    return PruneStep(
        removed=removal.jobs,
        after=rows[-1][0] if rows and removal.complete else after,
        done=removal.complete and (young or len(rows) < limit),
        oldest_ms=min((ms for _, ms in ended if ms >= before_ms), default=None),
    )


def remove(database: Database, jobs: list[int]) -> Removal:
    """Removes jobs up to the bounds of one transaction. Must run inside a transaction."""
    room = _PIECES
    for gone, job in enumerate(jobs):
        room -= database.change("purge_output", job=job, limit=room)
        if room == 0 or database.change("purge_attempts", job=job, limit=_ATTEMPTS) == _ATTEMPTS:
            return Removal(gone, complete=False)
        database.run("purge", job=job)
    return Removal(len(jobs), complete=True)
