"""Removes ended jobs from a SQLite database; see `store.pruning`."""

from functools import partial

from queued.core.model import State
from queued.core.records import PruneStep
from queued.store import pruning
from queued.store.pruning import Bounds, Removal
from queued.store.sqlite.connection import Database


def walk(database: Database, state: State, bounds: Bounds) -> PruneStep:
    """See `Ledger.prune`. Must run inside a transaction."""
    name = "prunable_completed" if state is State.COMPLETED else "prunable"
    page = database.rows(name, state=state, after=bounds.after, limit=bounds.limit)
    return pruning.step(page, state, bounds, partial(remove, database))


def remove(database: Database, jobs: list[int]) -> Removal:
    """Removes jobs up to the bounds of one transaction. Must run inside a transaction."""
    room = pruning.PIECES
    for gone, job in enumerate(jobs):
        room -= database.change("purge_output", job=job, limit=room)
        attempts = room and database.change("purge_attempts", job=job, limit=pruning.ATTEMPTS)
        if room == 0 or attempts == pruning.ATTEMPTS:
            return Removal(gone, complete=False)
        database.run("abandon_dependents", job=job)
        database.run("purge", job=job)
    return Removal(len(jobs), complete=True)
