"""Turns errors of PostgreSQL into messages: what is wrong, and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from queued.core.errors import (
    BusyError,
    DatabaseUnusableError,
    DeniedError,
    DisconnectedError,
    QueuedError,
    StorageError,
    UsageError,
)
from queued.core.suggestions import shorten


class ConflictingLocksError(BusyError):
    """The server has rolled back a transaction that conflicts with another; it may be repeated."""


# By the beginning of the SQLSTATE; the first that fits. {} stands for what the server said.
_BY_STATE: tuple[tuple[str, type[QueuedError], str], ...] = (
    ("40", ConflictingLocksError, "another program changed the same jobs ({}); try again later"),
    ("55P03", BusyError, "another program has locked what this needs; try again later"),
    ("57014", BusyError, "the server ended the statement ({}); try again later"),
    ("25006", DisconnectedError, "the server only reads, as a standby does; name the primary"),
    ("53100", StorageError, "there is no room on the server's disk; free some and try again"),
    ("53", BusyError, "the server has none left ({}); try again later, or raise its limit"),
    ("57P", DisconnectedError, "the server is starting or stopping ({}); try again later"),
    ("08", DisconnectedError, "there is no connection ({}); try again"),
    ("25P0", StorageError, "the server ended the transaction ({}); try again"),
    ("42501", DeniedError, "{}; {remedy}"),
    ("28", DeniedError, "{}; check the user and the password file"),
    ("3D000", DatabaseUnusableError, "{}; make it with createdb, or name another"),
    ("3F000", DatabaseUnusableError, "its schema was removed ({}); restore a backup"),
    ("42", DatabaseUnusableError, "it has another schema than this program works with ({})"),
    ("22021", UsageError, "{}"),
    ("22", DatabaseUnusableError, "it is damaged ({}); restore a backup"),
    ("23505", ConflictingLocksError, "another job has taken a unique key ({}); try again"),
    ("23", DatabaseUnusableError, "it is damaged ({}); restore a backup"),
    ("QD001", DatabaseUnusableError, "{}"),  # from a trigger of a queue that was moved
    ("XX", DatabaseUnusableError, "it is damaged ({}); see the server's log"),
    ("TLS", StorageError, "no encrypted connection ({}); see sslmode and sslrootcert in its URL"),
    ("", StorageError, "{}"),
)
# Errors of connecting have no SQLSTATE. By a part of what the server or libpq said.
_BY_TEXT: tuple[tuple[str, str], ...] = (
    ("invalid URI", "22021"),
    ("does not support SSL", "TLS"),
    ("certificate", "TLS"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("too many connections", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("recovery", "57P03"),
    ("session is read-only", "25006"),
    ("authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("not permitted to log in", "28000"),
    ("permission denied for database", "28000"),
    ('" does not exist', "28000"),
)


@contextmanager
def named_errors(where: str, remedy: str) -> Iterator[None]:
    """Raises errors of psycopg as a QueuedError that says what to do next.

    `where` is the database. `remedy` says how the user gets a right that is missing.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        msg = f"{shorten(error.object)} is not valid UTF-8"
        raise UsageError(msg) from None
    except psycopg.Error as error:
        raise named(error, where, remedy) from error


def named(error: psycopg.Error, where: str, remedy: str) -> QueuedError:
    """Returns the error to raise for one of psycopg."""
    told = " ".join((error.diag.message_primary or str(error)).split()) or type(error).__name__
    state = error.sqlstate or _guessed(told)
    kind, text = next((kind, text) for start, kind, text in _BY_STATE if state.startswith(start))
    return kind(f"{where}: {text.format(told[:400], remedy=remedy)}")


def damaged(where: str, error: Exception) -> DatabaseUnusableError:
    """Returns the error to raise if a row has a value that no version of this program writes."""
    return DatabaseUnusableError(f"{where} is damaged ({error}); restore a backup")


def _guessed(told: str) -> str:
    if 'database "' in told and '" does not exist' in told:
        return "3D000"
    if "NUL (0x00)" in told:
        return "22021"
    return next((state for part, state in _BY_TEXT if part in told), "08000")
