"""Ids, queues and stored settings for a shell's completion, from a database that exists."""

from collections.abc import Callable

from queued.core.model import State
from queued.store.sqlite import sql_loader
from queued.store.sqlite.maintenance import open_existing

_LAST = 2**63 - 1
_LIMIT = 1000  # limits the time of the answer, however many jobs there are
KINDS: dict[str, tuple[str, tuple[State | None, ...]]] = {
    "jobs": ("complete_jobs", (None,)),
    "live-jobs": ("complete_state", (State.PENDING, State.PROCESSING)),
    "dead-jobs": ("complete_state", (State.DEAD, State.CANCELLED)),
    "queues": ("complete_queues", (None,)),
    "stored": ("complete_stored", (None,)),
}


def complete(path: str, kind: str, prefix: str, busy_handler: Callable[[int], bool]) -> list[str]:
    """Returns printable words of `kind`, a key of KINDS, that begin with `prefix`.

    Of all jobs without a prefix, and of jobs in certain states, only the newest thousand (of each
    state) are considered. Raises QueuedError if the database does not exist or cannot be used.
    """
    name, states = KINDS[kind] if prefix or kind != "jobs" else ("complete_newest", (None,))
    statement = sql_loader.load()[name]
    values = {"prefix": prefix, "beyond": f"{prefix}\U0010ffff", "limit": _LIMIT, "after": _LAST}
    with open_existing.opened_to_read(path, busy_handler) as connection:
        connection.execute("PRAGMA query_only = ON")
        words = [
            str(row[0])
            for state in states
            for row in connection.execute(statement, {**values, "state": state})
        ]
    return [word for word in words if word.startswith(prefix) and word.isprintable()]
