"""Finds the job that a user names by its id, or by the beginning of a generated id."""

from collections.abc import Sequence

from queued.core import ids
from queued.core.errors import NotFoundError, UsageError
from queued.store.statements import Row, Statements


def find(database: Statements, name: str, form: str) -> int:
    """Returns the row number of the job; see `Store.find`. Call it inside a transaction.

    `form` is how the engine describes a generated id. Ids that users gave must be typed in full:
    `job1` must never mean `job10`.
    """
    exact = database.row("find", id=name)
    if exact is not None:
        return int(exact[0])
    found: Sequence[Row] = ()
    if 0 < len(name) < ids.LENGTH and set(name) <= set(ids.ALPHABET):
        beyond = name + "\U0010ffff"
        found = database.rows("find_prefix", prefix=name, beyond=beyond, form=form)
    return _only(name, found)


def _only(name: str, found: Sequence[Row]) -> int:
    """Returns the row number of the one job that was found, of two at most."""
    if not found:
        msg = f"no job {name!r}"
        raise NotFoundError(msg)
    if len(found) > 1:
        two = f"{found[0][1]} and {found[1][1]}"
        msg = f"{name!r} is the beginning of several ids, {two}; give more of it"
        raise UsageError(msg)
    return int(found[0][0])
