"""Removes ended jobs from a PostgreSQL database; see `store.pruning`."""

from queued.core.model import State
from queued.core.records import PruneStep
from queued.store import pruning
from queued.store.postgres.connection import Database
from queued.store.pruning import Bounds, Removal


def walk(database: Database, state: State, bounds: Bounds) -> PruneStep:
    """See `Ledger.prune`. Must run inside a transaction."""
    name = "prunable_completed" if state is State.COMPLETED else "prunable"
    page = database.rows(name, state=state, after=bounds.after, limit=bounds.limit)

    def remove_locked(jobs: list[int]) -> Removal:
        rows = database.rows("lock_ended", jobs=jobs, state=state, before=bounds.before_ms)
        return remove(database, [row[0] for row in rows])

    return pruning.step(page, state, bounds, remove_locked)


def remove(database: Database, jobs: list[int]) -> Removal:
    """Removes jobs that are locked, or a part of their history if it is long.

    Must run inside a transaction.
    """
    if not jobs:
        return Removal(0, complete=True)
    pieces = database.change("purge_output", jobs=jobs, limit=pruning.PIECES)
    attempts = 0
    if pieces < pruning.PIECES:
        attempts = database.change("purge_attempts", jobs=jobs, limit=pruning.ATTEMPTS)
    if pieces == pruning.PIECES or attempts == pruning.ATTEMPTS:
        return Removal(0, complete=False)
    database.run("abandon_dependents", jobs=jobs)
    database.run("purge_dependencies", jobs=jobs)
    return Removal(database.change("purge", jobs=jobs), complete=True)
