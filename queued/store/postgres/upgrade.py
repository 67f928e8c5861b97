"""Brings a database to the schema of this program, one numbered file at a time.

All migrations that are missing run in one transaction together with the new number, so that an
interrupted upgrade leaves the database as it was.
"""

from queued.core.errors import ConfigError, ConflictError
from queued.store.postgres import schema, sql_loader
from queued.store.postgres.connection import OWNER, Database

_OLDEST_SERVER = 140_000
_LIMIT_S = 60.0  # the longest wait for one answer


def make_if_missing(url: str) -> None:
    """Makes the schema if there is none. Raises DatabaseUnusableError if it is of another version.

    An older schema is left as it is, because hosts of the older version may use it.
    """
    if not found_schema(url):
        migrate(url)


def found_schema(url: str) -> int:
    """Returns the number of the schema, 0 if there is none.

    Raises DatabaseUnusableError if this program does not work with it.
    """
    database = Database(url, application="queued", serving=False, checked=False, limit_s=_LIMIT_S)
    try:
        with database.named_errors("service"):
            if version := database.schema():
                database.must_fit()
    finally:
        database.close()
    return version


def migrate(url: str) -> None:
    """Applies the missing migrations; several at the same time wait for each other.

    Raises ConfigError if the server or the database cannot hold a queue, and DatabaseUnusableError
    if the schema is newer than this program.
    """
    database = Database(url, application="queuectl", serving=False, checked=False, limit_s=_LIMIT_S)
    try:
        with database.transaction(OWNER):
            upgrade(database)
    finally:
        database.close()


def upgrade(database: Database) -> None:
    """Applies the missing migrations, within a transaction; see `migrate`.

    Raises ConflictError while a service lives that cannot work with the new schema.
    """
    where, name = database.address.shown, database.address.schema
    server, encoding, exists = database.rows("hold_upgrade", schema=name)[0]
    if server < _OLDEST_SERVER:
        msg = f"{where} is PostgreSQL {server // 10_000}; queued needs 14 or newer"
        raise ConfigError(msg)
    if encoding != "UTF8":
        msg = f"{where} has the encoding {encoding}; make a database with: createdb --encoding UTF8"
        raise ConfigError(msg)
    if not exists:
        database.run("make_schema")
    version = database.schema()
    if version < schema.latest():
        if version and (older := database.rows("older_services", works_from=schema.WORKS_FROM)):
            msg = (
                f"{where} has schema {version}, and services run on it that cannot work with the "
                f"new one ({', '.join(' '.join(row) for row in older)}); stop them first"
            )
            raise ConflictError(msg)
        for file in schema.files()[version:]:
            database.script(sql_loader.in_schema(schema.statements(file), name))
        database.run("schema_set", schema=schema.latest(), works_from=schema.WORKS_FROM)
    else:
        database.must_fit()
    if version <= schema.latest():
        database.script(sql_loader.in_schema(schema.roles(), name))
