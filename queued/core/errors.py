"""The exit codes, and the classes of all errors that are reported to the operator.

Each message is one line that says what is wrong and what to do next. This module prints nothing.
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
    Exit.DONE: "done, or there was nothing to do",
    Exit.NO: "not all of it could be done, or a check found a fault",
    Exit.USAGE: "wrong usage or input, or --yes is missing; nothing was changed",
    Exit.NOT_FOUND: "no such job, setting, service or database",
    Exit.CONFLICT: "the state of the job does not allow it, or the name is taken",
    Exit.INTERNAL: "internal error; please report it (details in the log)",
    Exit.IO: "disk or server error, or the service's lock file or row was removed",
    Exit.BUSY: "another program holds the database; try again",
    Exit.DENIED: "file permissions or the rights of the database user do not allow it",
    Exit.CONFIG: "wrong configuration, or an unusable database",
    Exit.TIMEOUT: "the wait timed out",
}


class QueuedError(Exception):
    """An error that is reported to the operator; the program exits with its `exit_code`."""

    exit_code = Exit.INTERNAL


class UsageError(QueuedError):
    """The command line or another input is wrong."""

    exit_code = Exit.USAGE


class NotFoundError(QueuedError):
    """A job, setting, service or file that the user named does not exist."""

    exit_code = Exit.NOT_FOUND


class ConflictError(QueuedError):
    """The state of the job, or an existing name, does not allow the operation."""

    exit_code = Exit.CONFLICT


class DuplicateJobError(ConflictError):
    """A job with this id exists. `index` is the place of the new job in the list given.

    `array`: the new job is of an array, whose id and index its id names.
    """

    exit_code = Exit.CONFLICT

    def __init__(self, name: str, index: int, *, array: bool = False) -> None:
        advice = "give other indexes or another id" if array else "choose another"
        super().__init__(f"a job with the id {name!r} exists already; {advice}")
        self.index = index


class TakenKeyError(ConflictError):
    """A job holds the unique key of a new job, at the place `index` in the list given."""

    exit_code = Exit.CONFLICT

    def __init__(self, key: str, holder: str, index: int) -> None:
        super().__init__(f"the job {holder} has the unique key {key!r}")
        self.index = index


class BusyError(QueuedError):
    """Another program held the database for longer than the limit of the wait."""

    exit_code = Exit.BUSY


class StorageError(QueuedError):
    """The system refused to read or write: disk full, read-only or broken, or a limit."""

    exit_code = Exit.IO


class DisconnectedError(StorageError):
    """There is no connection to the server of the database, or it only reads."""

    exit_code = Exit.IO


class CommitUnknownError(StorageError):
    """The connection was lost during a commit, which may have taken effect or not."""

    exit_code = Exit.IO


class EvictedError(QueuedError):
    """The lock file or the row of a running service was removed, or its jobs were taken over."""

    exit_code = Exit.IO


class DeniedError(QueuedError):
    """The rights of the user do not allow the operation, or allow others more than is safe."""

    exit_code = Exit.DENIED


# A transaction of a service that one of these has ended is tried again.
TRANSIENT = (StorageError, DeniedError, BusyError)


class ConfigError(QueuedError):
    """A setting or the conf file is wrong."""

    exit_code = Exit.CONFIG


class DatabaseUnusableError(QueuedError):
    """The database is damaged, belongs to another program, or is newer than this program."""

    exit_code = Exit.CONFIG


class NoMatchError(QueuedError):
    """No job that the command line names matches its filter."""

    exit_code = Exit.NO


class WaitTimeoutError(QueuedError):
    """A wait has reached the limit that the user gave."""

    exit_code = Exit.TIMEOUT
