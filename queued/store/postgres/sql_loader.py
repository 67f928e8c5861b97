"""Loads the named statements of the `.sql` files in the form that psycopg takes."""

import os
import re
from collections.abc import Iterator, Mapping
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


class _Statements(Mapping[str, str]):
    """Texts by name, each brought into its form when it is first used: most never are."""

    def __init__(self, texts: dict[str, str], schema: str) -> None:
        self._texts, self._schema = texts, schema
        self._formed: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._formed:
            text = in_schema(self._texts[name].replace("%", "%%"), self._schema)
            self._formed[name] = _PARAMETER.sub(r"%(\1)s", text)
        return self._formed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


@cache
def load(schema: str) -> Mapping[str, str]:
    """Returns the statements by name, with the tables of `schema`; see `sql_blocks.read`."""
    return _Statements(sql_blocks.read(*_FILES), schema)


def in_schema(text: str, schema: str) -> str:
    """Returns statements with the tables and roles of `schema` in place of those of `queued`."""
    return _ROLE.sub(schema, _SCHEMA.sub(lambda _: f'"{schema}"', text))
