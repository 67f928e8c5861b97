"""Explains why a user could not change a job: it is that of another user; see roles.sql."""

from queued.core.errors import DeniedError
from queued.core.model import Label, State
from queued.store import rows
from queued.store.postgres.connection import Database


def must_be_own(database: Database, job: int, *movable: State | Label) -> None:
    """Raises DeniedError if the job was not moved although it is in one of these states."""
    row = database.row("show", job=job)
    found = None if row is None else rows.job(row)
    if found is not None and {found.state, found.label}.intersection(movable):
        needed = f"it needs the role {database.address.schema}_operator"
        msg = f"{found.id} was submitted by {found.submitted_by}; {needed}"
        raise DeniedError(msg)
