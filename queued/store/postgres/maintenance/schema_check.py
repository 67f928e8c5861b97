"""Checks a queue: its schema, settings of the server, and the invariants."""

import os
from collections.abc import Callable, Iterator
from itertools import islice

from queued.core.errors import DatabaseUnusableError, DeniedError
from queued.core.model import Instance
from queued.store import invariants
from queued.store.engine import CheckReport
from queued.store.postgres import schema, sql_loader
from queued.store.postgres.connection import Database
from queued.store.postgres.maintenance.queue_tables import must_see_all


def check(database: Database, is_alive: Callable[[Instance], bool], *, full: bool) -> CheckReport:
    """Checks one snapshot. `full` also checks references."""
    must_see_all(database)
    problems, notes = list(_server(database)), list[str]()
    try:
        with database.reading():
            schema.must_be_known(database.schema(), database.address.shown)
        problems += _schema(database)
    except DatabaseUnusableError as error:
        notes.append(f"the schema was not compared: {error}")
    except DeniedError:
        notes.append("the schema was not compared: that needs the right to create one")
    with database.reading("long_snapshot"):
        if full:
            problems += _references(database)
        problems += invariants.broken(database.rows)
        if not problems:
            notes += invariants.left_claims(database.rows, _dead_instances(database, is_alive))
    return CheckReport(problems, notes)


def _server(database: Database) -> Iterator[str]:
    with database.reading("long_snapshot"):
        for name, value in database.rows("check_server"):
            yield f"{name} is {value} on the server: a power cut may lose jobs"


def _schema(database: Database) -> Iterator[str]:
    """Compares the schema with one that is made by the migrations and then rolled back."""
    name = f"queued_check_{os.urandom(4).hex()}"
    with database.reading("long"):
        found = {*database.rows("objects", schema=database.address.schema)}
        database.script(sql_loader.in_schema("CREATE SCHEMA queued", name))
        for file in schema.files():
            database.script(sql_loader.in_schema(schema.statements(file), name))
        expected = {*database.rows("objects", schema=name)}
    different = sorted({row[:2] for row in found ^ expected})
    for kind, what in islice(different, invariants.MOST):
        yield f"the schema has another {kind} {what}"


def _references(database: Database) -> Iterator[str]:
    for table, other in islice(database.rows("check_references"), invariants.MOST):
        yield f"a row of {table} belongs to no row of {other}"


def _dead_instances(database: Database, is_alive: Callable[[Instance], bool]) -> Iterator[str]:
    known = [Instance(*row) for row in database.rows("instances")]
    yield from (instance.id for instance in known if not is_alive(instance))
    yield from (str(row[0]) for row in database.rows("unregistered_instances"))
