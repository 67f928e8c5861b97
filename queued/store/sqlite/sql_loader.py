"""Loads the named statements of the `.sql` files."""

import os
from functools import cache

from queued.store import sql_blocks

_HERE = os.path.dirname(__file__)
_NAMES = (
    "queries.sql",
    "queues.sql",
    "schedules.sql",
    "numbers.sql",
    "dependencies.sql",
    "keys.sql",
    "rates.sql",
)
_FILES = [os.path.join(_HERE, name) for name in _NAMES]


@cache
def load() -> dict[str, str]:
    """Returns the statements by name; see `sql_blocks.read`."""
    return sql_blocks.read(*_FILES)
