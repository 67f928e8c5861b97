"""Checks a database: SQLite's own checks, and the invariants of the queue."""

from collections.abc import Callable, Iterator
from itertools import islice

import apsw

from queued.store import instance_lock, invariants
from queued.store.engine import CheckReport
from queued.store.invariants import MOST
from queued.store.sqlite import schema, sql_loader
from queued.store.sqlite.maintenance import open_existing


def check(path: str, busy_handler: Callable[[int], bool], *, full: bool) -> CheckReport:
    """Checks one snapshot. `full` also compares indexes with tables, and checks references."""
    with open_existing.opened_to_read(path, busy_handler) as connection:
        connection.execute(
            "BEGIN"
        )  # ends with the connection, because COMMIT may fail on a damaged file
        read = open_existing.reader(connection)
        current = connection.pragma("user_version") == schema.latest()
        problems = [*_journal(connection), *_read(_pages(connection, full=full))]
        if current and not problems:
            problems = list(_read(invariants.broken(read)))
        dead = _dead_instances(connection, path) if current and not problems else ()
        notes = list(invariants.left_claims(read, dead))
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
    for row in connection.execute(f"PRAGMA {kind}({MOST})"):
        lines = str(row[0]).splitlines()
        yield from (line for line in lines if line != "ok" and not line.startswith("***"))
    if different := schema.differs(connection):
        yield f"the schema has another {different}"
    if full:
        for row in islice(connection.execute("PRAGMA foreign_key_check"), MOST):
            yield f"a row of {row[0]} belongs to no row of {row[2]}"


def _dead_instances(connection: apsw.Connection, path: str) -> Iterator[str]:
    sql = sql_loader.load()
    for name in ("instances", "unregistered_instances"):
        for row in connection.execute(sql[name]).fetchall():
            if not instance_lock.is_alive(path, str(row[0])):
                yield str(row[0])
