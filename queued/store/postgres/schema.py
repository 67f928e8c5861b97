"""The schema of the database: its number, the files that make it, and a check of the number.

The schema is the sum of the numbered files in `migrations/`; the number of the last file that was
applied is in the table `meta`. This module reads nothing but these files.

A program uses tables of its own newest schema, and of each later one that is made for it, too. So
hosts are upgraded one by one: first `queuectl db upgrade` with the new version, then the services.
"""

import os

from queued.core.errors import DatabaseUnusableError, NotFoundError

# The range: programs whose newest schema is this one or a later one work with the tables that this
# program makes. A migration that they cannot work with, such as one that drops a column, raises it.
WORKS_FROM = 1
MIGRATIONS = os.path.join(os.path.dirname(__file__), "migrations")


def latest() -> int:
    """Returns the number of the newest schema that this program knows."""
    return len(files())


def files() -> list[str]:
    """Returns the names of the migrations in the order in which they are applied."""
    return sorted(name for name in os.listdir(MIGRATIONS) if name.endswith(".sql"))


def statements(name: str) -> str:
    """Returns the SQL text of a migration, for the schema `queued`."""
    return _read(os.path.join(MIGRATIONS, name))


def roles() -> str:
    """Returns the SQL text that makes the roles and gives them their rights."""
    return _read(os.path.join(os.path.dirname(__file__), "roles.sql"))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def must_be_known(version: int, where: str) -> None:
    """Raises DatabaseUnusableError if the schema is newer, so that it may have unknown columns."""
    if version > latest():
        msg = f"{where} has schema {version}; this needs the program of that version"
        raise DatabaseUnusableError(msg)


def must_fit(version: int, works_from: int, where: str) -> None:
    """Raises DatabaseUnusableError if this program does not work with that schema.

    `works_from` is the oldest one whose programs do. Raises NotFoundError for schema 0, which means
    that there is none.
    """
    if version == 0:
        msg = f"{where} has no queue yet; start a service, or run: queuectl --db URL db upgrade"
        raise NotFoundError(msg)
    if version < latest():
        msg = (
            f"{where} has schema {version}, and this program needs {latest()}; "
            "run: queuectl --db URL db upgrade"
        )
    elif works_from > latest():
        msg = (
            f"{where} has schema {version}, which programs of schema {works_from} or newer work "
            f"with, and this program has {latest()}; upgrade queued on this machine"
        )
    else:
        return
    raise DatabaseUnusableError(msg)
