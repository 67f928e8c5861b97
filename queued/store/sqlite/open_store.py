"""Opens the database of a command: for reading only, if it cannot be written."""

from contextlib import suppress

from queued.core.errors import DeniedError, QueuedError, StorageError
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.connection import Access


def open_store(path: str, busy_handler: BusyHandler, *, may_read: bool) -> SqliteStore:
    """Returns the open store; if it cannot be written and `may_read`, one that only reads.

    Raises the error of opening it for writing if it cannot be read either.
    """
    try:
        return SqliteStore(path, busy_handler)
    except (DeniedError, StorageError):
        for access in (Access.READ, Access.SNAPSHOT) if may_read else ():
            with suppress(QueuedError):
                return SqliteStore(path, busy_handler, access)
        raise
