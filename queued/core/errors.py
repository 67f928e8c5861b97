"""The exit codes and the one tree of errors that an operator can meet.

Every message says what is wrong and what to do next, in one line. Nothing here may print.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `queuectl` and `queued`; 70 and above follow sysexits(3)."""

    DONE = 0
    NO = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    INTERNAL = 70
    IO = 74
    BUSY = 75
    DENIED = 77
    CONFIG = 78
    TIMEOUT = 124


EXIT_MEANINGS = {
    Exit.DONE: "done",
    Exit.NO: "nothing to do, or only part of it could be done",
    Exit.USAGE: "wrong usage or input; nothing was changed",
    Exit.NOT_FOUND: "no such job, setting, service or database",
    Exit.CONFLICT: "the state of the job does not allow it, or the name is taken",
    Exit.INTERNAL: "internal error; please report it (details in the log)",
    Exit.IO: "disk error or disk full; nothing was acknowledged",
    Exit.BUSY: "another program holds the database; try again",
    Exit.DENIED: "file permissions do not allow it",
    Exit.CONFIG: "wrong configuration, or an unusable database",
    Exit.TIMEOUT: "the wait timed out",
}


class QueuedError(Exception):
    """What went wrong and what to do about it; `exit_code` is how the program ends."""

    exit_code = Exit.INTERNAL


class UsageError(QueuedError):
    """What the user typed does not make sense."""

    exit_code = Exit.USAGE


class NotFoundError(QueuedError):
    """The thing that the user named does not exist."""

    exit_code = Exit.NOT_FOUND


class ConflictError(QueuedError):
    """The thing exists, and its state forbids the operation."""

    exit_code = Exit.CONFLICT


class BusyError(QueuedError):
    """Somebody else held the database for longer than we wait."""

    exit_code = Exit.BUSY


class StorageError(QueuedError):
    """The disk refused: full, read-only or broken."""

    exit_code = Exit.IO


class EvictedError(QueuedError):
    """The lock file or the row that proves that a service lives was removed."""

    exit_code = Exit.IO


class DeniedError(QueuedError):
    """File permissions forbid it, or are too open to be trusted."""

    exit_code = Exit.DENIED


class ConfigError(QueuedError):
    """A setting or the conf file is wrong."""

    exit_code = Exit.CONFIG


class DatabaseUnusableError(QueuedError):
    """The database is damaged, not ours, or newer than this program."""

    exit_code = Exit.CONFIG


class WaitTimeoutError(QueuedError):
    """A wait that the user limited has reached its limit."""

    exit_code = Exit.TIMEOUT
