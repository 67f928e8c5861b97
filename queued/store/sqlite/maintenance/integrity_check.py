"""Checks a database: SQLite's own checks, and the invariants of the queue."""

from collections.abc import Callable, Iterator
from itertools import islice

import apsw

from queued.store import instance_lock
from queued.store.engine import CheckReport
from queued.store.sqlite import schema, sql_loader
from queued.store.sqlite.maintenance import open_existing

_MOST = 20  # the most problems of one kind that are reported


def check(path: str, busy_handler: Callable[[int], bool], *, full: bool) -> CheckReport:
    """Checks one snapshot. `full` also compares indexes with tables, and checks references."""
    with open_existing.opened_to_read(path, busy_handler) as connection:
        connection.execute(
            "BEGIN"
        )  # ends with the connection, because COMMIT may fail on a damaged file
        current = connection.pragma("user_version") == schema.latest()
        problems = [*_journal(connection), *_read(_pages(connection, full=full))]
        if current and not problems:
            problems = list(_read(_invariants(connection)))
        notes = list(_left_claims(connection, path)) if current and not problems else []
    older = [] if current else ["the schema is an older one: only the pages were checked"]
    return CheckReport(problems, older + notes)


def _journal(connection: apsw.Connection) -> Iterator[str]:
    mode = connection.pragma("journal_mode")
    # A snapshot without side files has no mode of its own: SQLite reports `delete` then.
    if mode != "wal" and not connection.readonly("main"):
        yield f"the journal mode is {mode}, not wal: a power cut may lose jobs; a start mends it"


def _read(problems: Iterator[str]) -> Iterator[str]:
    """Yields the problems, and one more if reading them fails because the file is damaged."""
    try:
        yield from problems
    except (apsw.Error, UnicodeDecodeError) as error:
        yield f"the file is damaged: {error}"


def _pages(connection: apsw.Connection, *, full: bool) -> Iterator[str]:
    kind = "integrity_check" if full else "quick_check"
    for row in connection.execute(f"PRAGMA {kind}({_MOST})"):
        lines = str(row[0]).splitlines()
        yield from (line for line in lines if line != "ok" and not line.startswith("***"))
    if different := schema.differs(connection):
        yield f"the schema has another {different}"
    if full:
        for row in islice(connection.execute("PRAGMA foreign_key_check"), _MOST):
            yield f"a row of {row[0]} belongs to no row of {row[2]}"


def _invariants(connection: apsw.Connection) -> Iterator[str]:
    sql = sql_loader.load()
    for name, told in _TOLD.items():
        for row in islice(connection.execute(sql[name]), _MOST):
            yield told.format(*row)


_TOLD = {
    "check_counts": "the counter of {1} jobs in the queue {0!r} is {2}, there are {3}",
    "check_claims": "job {0} is running, and run {1} is not recorded",
    "check_open_attempts": "run {1} of job {0} has no end, and is not running",
    "check_runs": "job {0} ran {1} times, {2} runs are recorded, the last of them is {3}",
}


def _left_claims(connection: apsw.Connection, path: str) -> Iterator[str]:
    sql = sql_loader.load()
    names = ("instances", "unregistered_instances")
    for instance in [str(row[0]) for name in names for row in connection.execute(sql[name])]:
        claims = connection.execute(sql["running_claims"], {"instance": instance}).fetchall()
        if claims and not instance_lock.is_alive(path, instance):
            left = f"{len(claims)} running jobs are left of {instance}, which is dead"
            yield f"{left}; the next service that starts rescues them"
