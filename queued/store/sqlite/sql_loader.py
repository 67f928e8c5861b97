"""Loads the named statements of `queries.sql`."""

import os

from queued.store import sql_blocks

_FILE = os.path.join(os.path.dirname(__file__), "queries.sql")


def load() -> dict[str, str]:
    """Returns the statements by name; see `sql_blocks.read`."""
    return sql_blocks.read(_FILE)
