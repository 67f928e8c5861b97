"""Ids, queues and stored settings for a shell's completion."""

from queued.core.model import State
from queued.store.invariants import Read

_LAST = 2**63 - 1
_LIMIT = 1000  # limits the time of the answer, however many jobs there are
_KINDS: dict[str, tuple[str, tuple[State | None, ...]]] = {
    "jobs": ("complete_jobs", (None,)),
    "live-jobs": ("complete_state", (State.PENDING, State.PROCESSING)),
    "dead-jobs": ("complete_state", (State.DEAD, State.CANCELLED)),
    "queues": ("complete_queues", (None,)),
    "schedules": ("complete_schedules", (None,)),
    "stored": ("complete_stored", (None,)),
}


def complete(kind: str, prefix: str, read: Read) -> list[str]:
    """Returns printable words of `kind`, one of `engine.COMPLETIONS`, that begin with `prefix`.

    Of all jobs without a prefix, and of jobs in certain states, only the newest thousand (of each
    state) are considered.
    """
    name, states = _KINDS[kind] if prefix or kind != "jobs" else ("complete_newest", (None,))
    values = {"prefix": prefix, "beyond": f"{prefix}\U0010ffff", "limit": _LIMIT, "after": _LAST}
    words = [str(row[0]) for state in states for row in read(name, **values, state=state)]
    return [word for word in words if word.startswith(prefix) and word.isprintable()]
