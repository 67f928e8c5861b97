"""Checks whether a service could use a database, without creating or changing any file."""

import os
from urllib.parse import quote

import apsw

from queued.core.errors import DeniedError
from queued.store import permissions
from queued.store.sqlite import schema
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.connection import must_have_one_name, must_have_safe_sqlite
from queued.store.sqlite.error_names import named_errors
from queued.store.sqlite.maintenance import open_existing

_PATIENCE_S = 10.0


def schema_version(path: str) -> int:
    """Returns the number of the schema. Raises QueuedError if no service could use the database."""
    must_have_safe_sqlite()
    open_existing.must_be_file(path)
    must_have_one_name(path)
    if not os.access(path, os.R_OK | os.W_OK):
        msg = f"no permission to write {path}; check its owner and mode"
        raise DeniedError(msg)
    check_directory(os.path.dirname(path))
    with named_errors(path):
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(_uri(path), flags=flags)
        try:
            connection.set_busy_handler(BusyHandler(_PATIENCE_S))
            return schema.check(connection, path)
        finally:
            connection.close()


def _uri(path: str) -> str:
    """Returns the URI to open. Without a WAL no process uses the database, so it is immutable then.

    Otherwise SQLite would create side files, which a read-only connection cannot delete.
    """
    used = os.path.exists(f"{path}-wal")
    return f"file:{quote(path)}?mode=ro{'' if used else '&immutable=1'}"


def check_directory(directory: str) -> None:
    """Raises DeniedError or StorageError if the directory, or a file in it, cannot be created."""
    existing = directory
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.access(existing, os.W_OK | os.X_OK):
        permissions.must_not_be_read_only(existing)
        msg = f"no permission to write {existing}; check its owner and mode"
        raise DeniedError(msg)
