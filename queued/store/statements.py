"""An open database, as both engines have it: it runs statements that have names."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
Transaction = Callable[[], AbstractContextManager[None]]


def texts(row: Row, errors: str = "strict") -> Row:
    """Returns the row with its bytes as text: another program may store text that is not UTF-8.

    Raises UnicodeDecodeError, unless `errors` is `replace`.
    """
    return tuple(one.decode(errors=errors) if isinstance(one, bytes) else one for one in row)


class Statements(Protocol):
    """Runs named statements, inside a transaction that the caller has begun."""

    def run(self, name: str, **values: Any) -> None:  # noqa: ANN401, D102
        ...

    def row(self, name: str, **values: Any) -> Row | None:  # noqa: ANN401, D102
        ...

    def rows(self, name: str, **values: Any) -> list[Row]:  # noqa: ANN401, D102
        ...
