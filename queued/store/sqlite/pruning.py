"""Removes ended jobs with their history and output, a bounded piece at a time.

Jobs are found in the order of enqueueing, which costs a job nothing while it lives: an index by
the time of the end would make each settle a seventh slower. None that was enqueued after a time
has ended before it, so a walk ends where the jobs are too young, and reads only what is removed
and what outlived it.
"""

from queued.core.model import State
from queued.store.protocols import PruneStep
from queued.store.sqlite.connection import Database

_PIECES = 100  # of output in one transaction: 6 MiB
_ATTEMPTS = 1000


def walk(database: Database, state: State, *, after: int, before_ms: int, limit: int) -> PruneStep:
    """See `Ledger.prune`. Inside a transaction."""
    name = "prunable_completed" if state is State.COMPLETED else "prunable"
    rows = database.rows(name, state=state, after=after, limit=limit)
    ended = [(seq, updated) for seq, found, _, updated in rows if found == state]
    removed, complete = remove(database, [seq for seq, updated in ended if updated < before_ms])
    young = all(created >= before_ms for _, _, created, _ in rows)
    return PruneStep(
        removed=removed,
        after=rows[-1][0] if rows and complete else after,
        done=complete and (young or len(rows) < limit),
        oldest_ms=min((ms for _, ms in ended if ms >= before_ms), default=None),
    )


def remove(database: Database, jobs: list[int]) -> tuple[int, bool]:
    """Removes jobs until there is enough for one transaction: (how many are gone, whether all)."""
    room = _PIECES
    for gone, job in enumerate(jobs):
        room -= database.change("purge_output", job=job, limit=room)
        if room == 0 or database.change("purge_attempts", job=job, limit=_ATTEMPTS) == _ATTEMPTS:
            return gone, False
        database.run("purge", job=job)
    return len(jobs), True
