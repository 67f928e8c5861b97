"""Opens an existing database without creating or upgrading it.

For the work on the file as a whole: check, backup, restore, vacuum, stats, and an upgrade.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import apsw

from queued.core.errors import (
    DatabaseUnusableError,
    DeniedError,
    NotFoundError,
    QueuedError,
    StorageError,
)
from queued.store import permissions
from queued.store.invariants import Read
from queued.store.sqlite import schema, sql_loader
from queued.store.sqlite.busy_handler import retry_protocol_errors
from queued.store.sqlite.connection import (
    OPEN_FLAGS,
    Access,
    close_untouched,
    make_interruptible,
    must_have_one_name,
    must_have_safe_sqlite,
    open_reading,
)
from queued.store.sqlite.error_names import named_errors

Refuse = Callable[[apsw.Connection, str], None]


def must_be_ours(connection: apsw.Connection, path: str) -> None:
    """Raises DatabaseUnusableError if the database is empty, too new, or of another program."""
    if schema.check(connection, path) == 0:
        msg = f"{path} is empty; give the path of a database with --db"
        raise DatabaseUnusableError(msg)


@contextmanager
def opened_to_read(path: str, busy_handler: Callable[[int], bool]) -> Iterator[apsw.Connection]:
    """As `opened`; a database that cannot be written is opened for reading."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(opened(path, busy_handler))
        except (DeniedError, StorageError):
            for access in (Access.READ, Access.SNAPSHOT):
                with suppress(QueuedError):
                    connection = stack.enter_context(opened(path, busy_handler, access=access))
                    break
            else:
                raise
        yield connection


@contextmanager
def opened(
    path: str,
    busy_handler: Callable[[int], bool],
    *,
    refuse: Refuse = must_be_ours,
    access: Access = Access.WRITE,
) -> Iterator[apsw.Connection]:
    """A connection to an existing database of queued. Raises QueuedError without any change."""
    must_have_safe_sqlite()
    must_be_file(path)
    with named_errors(path):
        if access is Access.WRITE:
            must_have_one_name(path)
            permissions.check_database(path)
            connection = apsw.Connection(path, flags=OPEN_FLAGS)
        else:
            connection = open_reading(path, access)
        try:
            with named_errors(path, connection):
                connection.set_busy_handler(busy_handler)
                make_interruptible(connection)
                connection.execute("PRAGMA synchronous = FULL")
                retry_protocol_errors(partial(refuse, connection, path), busy_handler)
        except BaseException:
            close_untouched(connection, path)
            raise
        try:
            with named_errors(path, connection):
                yield connection
        finally:
            connection.close()


def must_be_file(path: str) -> None:
    """Raises NotFoundError, or DatabaseUnusableError if it is not a regular file."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        msg = f"there is no database {path}"
        raise NotFoundError(msg) from None
    if not stat.S_ISREG(mode):
        msg = f"{path} is not a regular file; give the path of a database with --db"
        raise DatabaseUnusableError(msg)


def reader(connection: apsw.Connection) -> Read:
    """Returns a function that runs a named statement with values."""
    sql = sql_loader.load()
    return lambda name, **values: connection.execute(sql[name], values)
