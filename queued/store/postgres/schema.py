"""The schema of the database: its number, the files that make it, and a check of the number.

The schema is the sum of the numbered files in `migrations/`; the number of the last file that was
applied is in the table `meta`. This module reads nothing but these files.
"""

import os

from queued.core.errors import DatabaseUnusableError, NotFoundError

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


def must_fit(version: int, where: str) -> None:
    """Raises DatabaseUnusableError if this program does not work with that schema.

    Raises NotFoundError for schema 0, which means that there is none.
    """
    if version == 0:
        msg = f"{where} has no queue yet; start a service, or run: queuectl --db URL db upgrade"
        raise NotFoundError(msg)
    if version < latest():
        msg = (
            f"{where} has schema {version}, and this program needs {latest()}; "
            "run: queuectl --db URL db upgrade"
        )
    elif version > latest():
        msg = (
            f"{where} has schema {version}, newer than the {latest()} that this program knows; "
            "upgrade queued on this machine"
        )
    else:
        return
    raise DatabaseUnusableError(msg)
