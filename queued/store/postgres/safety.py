"""Checks whether a service may use a database: it runs commands for all who can write the tables.

The rights of users are in roles.sql. A database with other rights is refused; the message has the
statements that take them away. This module changes nothing.
"""

from contextlib import closing

from queued.core.errors import ConfigError, DeniedError
from queued.store.postgres.connection import Database

_ROLES = ("reader", "enqueuer", "operator", "service")


def must_be_safe(url: str) -> None:
    """Raises DeniedError if other users than members of the roles could change the queue.

    Raises ConfigError if a pooler gives each transaction another connection.
    """
    with closing(_opened(url)) as database, database.named_errors():
        search_path = database.value("search_path")
        with database.reading():
            unsafe = database.rows("unsafe", schema=database.address.schema, roles=roles(database))
        where = database.address.shown
        schemas = [name for name in search_path if not name.startswith("pg_temp")]
        if schemas[:1] != ["pg_catalog"]:
            msg = (
                f"{where}: the search_path has {schemas[0]} before pg_catalog, so that functions of"
                " others could be called; run: ALTER ROLE ... RESET search_path"
            )
            raise DeniedError(msg)
        if unsafe:
            whats, remedies = zip(*unsafe, strict=True)
            msg = (
                f"{where} is refused, because its service runs commands for all who can change it:"
                f" {', '.join(whats)}. As its owner run: {'; '.join(remedies)}"
            )
            raise DeniedError(msg)
        _must_keep_its_connection(database, url)


def roles(database: Database) -> list[str]:
    """Returns the names of the roles of a queue."""
    return [f"{database.address.schema}_{role}" for role in _ROLES]


def _must_keep_its_connection(database: Database, url: str) -> None:
    """Raises ConfigError if a second client of a pooler gets the same process of the server."""
    if not database.is_pooled:
        return
    with closing(_opened(url)) as second, second.named_errors():
        if second.value("server_process") == database.value("server_process"):
            msg = (
                f"{database.address.shown} is a pooler that gives each transaction another"
                " connection, on which no notification arrives; a service needs"
                " pool_mode=session in pgbouncer, or the address of the server itself"
            )
            raise ConfigError(msg)


def _opened(url: str) -> Database:
    return Database(url, application="queued", serving=False)
