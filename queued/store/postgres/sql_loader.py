"""Loads the named statements of the `.sql` files in the form that psycopg takes."""

import os
import re
from functools import cache

from queued.store import sql_blocks

_HERE = os.path.dirname(__file__)
_NAMES = (
    *("queries.sql", "queues.sql", "schedules.sql", "numbers.sql", "dependencies.sql"),
    *("keys.sql", "rates.sql", "maintenance/queries.sql"),
)
_FILES = [os.path.join(_HERE, name) for name in _NAMES]
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")  # not the type of a cast, `::bigint`
_SCHEMA = re.compile(r"\bqueued(?=\.)|(?<=SCHEMA )queued\b")
_ROLE = re.compile(r"\bqueued(?=_(reader|enqueuer|operator|service)\b)")


@cache
def load(schema: str) -> dict[str, str]:
    """Returns the statements by name, with the tables of `schema`; see `sql_blocks.read`."""
    return {
        name: _PARAMETER.sub(r"%(\1)s", in_schema(text.replace("%", "%%"), schema))
        for name, text in sql_blocks.read(*_FILES).items()
    }


def in_schema(text: str, schema: str) -> str:
    """Returns statements with the tables and roles of `schema` in place of those of `queued`."""
    return _ROLE.sub(schema, _SCHEMA.sub(lambda _: f'"{schema}"', text))
