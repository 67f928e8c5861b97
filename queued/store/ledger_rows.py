"""Makes the records of a ledger from rows; every engine selects the same columns."""

from queued.core.job_options import NO_OPTIONS
from queued.core.job_spec import stored_options
from queued.core.model import Instance, State
from queued.core.runs import Claim, Key
from queued.core.settings import SETTINGS
from queued.store.rows import Row

STATES = {str(state): state for state in State}  # quicker than a call of State


def claim_of(row: Row, error: Exception | None = None) -> Claim:
    """Returns the claim of a row. A row that another program made invalid has a `Claim.fault`.

    `error` tells that a text of the row is not valid; the row then has a readable one in its place.
    """
    *key, name, queue, command, stored = row[:7]
    attempts, max_retries, due, created, expires, worker, at = row[7:]
    options = NO_OPTIONS
    if error is None:
        try:
            options = stored_options(stored)
        except (ValueError, RecursionError) as invalid:
            error = invalid
    return Claim(
        key=Key(*key),
        id=name,
        queue=queue,
        command=command,
        options=options,
        attempts=attempts,
        max_retries=max_retries,
        worker=worker,
        due_ms=due,
        claimed_ms=at,
        created_ms=created,
        expires_ms=expires,
        fault=None if error is None else f"the row of the job cannot be read: {error}",
    )


def unknown_instance(name: str) -> Instance:
    """Returns an instance whose row was removed; its lease may be as long as any."""
    return Instance(name, "", 0, "", 0, None, lease_s=SETTINGS["lease"].maximum)
