"""Turns errors of SQLite into messages: what is wrong, and what to do next."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from queued.core.errors import (
    BusyError,
    DatabaseUnusableError,
    DeniedError,
    QueuedError,
    StorageError,
    UsageError,
)
from queued.core.suggestions import shorten
from queued.store.sqlite import schema
from queued.store.system_errors import named_os_error, refusal


@contextmanager
def named_errors(path: str, connection: apsw.Connection | None = None) -> Iterator[None]:
    """Raises errors of SQLite and the system as a QueuedError that says what to do next.

    `connection` has the error of the system that caused an error of SQLite.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        msg = f"{shorten(error.object)} is not valid UTF-8"
        raise UsageError(msg) from None
    except UnicodeDecodeError as error:
        raise damaged(path, error) from error
    except (apsw.Error, OSError) as error:
        named = _refused_by_system(error, path, connection) or _named(error, path)
        if named is None:
            raise
        raise named from error


def _refused_by_system(
    error: Exception, path: str, connection: apsw.Connection | None
) -> StorageError | None:
    """Returns the error to raise if the cause is the system and not the database, else None."""
    number = 0
    if isinstance(error, OSError):
        number = error.errno or 0
    elif isinstance(error, apsw.FullError):
        number = errno.ENOSPC
    elif isinstance(error, apsw.IOError | apsw.CantOpenError | apsw.ReadOnlyError):
        if connection is not None and not isinstance(error, apsw.ReadOnlyError):
            number = connection.system_errno
        if refusal(number, path) is None:
            number = _refusal_now(os.path.dirname(path))
    return refusal(number, path)


def _refusal_now(directory: str) -> int:
    """Tries to make an unnamed file in the directory; returns the errno, 0 for success."""
    try:
        if os.statvfs(directory).f_bavail == 0:
            return errno.ENOSPC
        os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.errno or 0
    return 0


def damaged(path: str, error: Exception) -> DatabaseUnusableError:
    """Returns the error to raise if a row has a value that no version of this program writes."""
    return DatabaseUnusableError(f"{path} is damaged ({_told(error)}); see: queuectl db check")


def _told(error: Exception) -> str:
    """Returns the message on one line, printable, because it may quote the content of the file."""
    text = " ".join(str(error).split())
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."


def _named(error: Exception, path: str) -> QueuedError | None:  # noqa: PLR0911 - a table
    match error:
        case apsw.BusyError() | apsw.LockedError() | apsw.ProtocolError():
            return BusyError(f"{path} stayed locked by another program; try again later")
        case apsw.NotADBError() | apsw.CorruptError() | apsw.FormatError():
            return DatabaseUnusableError(
                f"{path} is damaged or no database ({_told(error)}); "
                "restore a backup or give another --db"
            )
        case apsw.ReadOnlyError() if not _forbidden(error, path):
            return DatabaseUnusableError(
                f"{path} cannot be written: it is append-only (see: lsattr; end that: chattr -a), "
                "or its header says that only a newer SQLite may write it"
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return DeniedError(f"no permission to write {path}; check its owner and mode")
        case apsw.CantOpenError():
            return DeniedError(f"cannot open {path}; check that its directory can be written")
        case apsw.ConstraintError():
            return damaged(path, error)
        case apsw.SQLError() if not schema.is_intact(path):
            return damaged(path, error)
        case apsw.IOError():
            return StorageError(f"the disk of {path} failed: {error}; see the kernel's log")
        case OSError():
            return named_os_error(error, path)
    return None


def _forbidden(error: apsw.ReadOnlyError, path: str) -> bool:
    """Returns whether permissions forbid to write the file.

    If permissions allow it, SQLite refuses to write because of the version in the header.
    """
    code: int = getattr(error, "extendedresult", 0)
    return code != apsw.SQLITE_READONLY or not os.access(
        path, os.R_OK | os.W_OK, effective_ids=True
    )
