"""The engines that the contract is tested on. Another one is another function in ENGINES."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from queued.store.postgres.client_store import PostgresStore
from queued.store.postgres.dispatcher_store import PostgresLedger
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.dispatcher_store import SqliteLedger
from tests import postgres_server
from tests.store.engine import Engine

OTHER = "postgres of another version"


def _sqlite(directory: Path, stack: ExitStack) -> Engine:
    path = str(directory / "queue.db")
    return Engine(
        stack,
        lambda: SqliteStore(path, BusyHandler(10)),
        lambda: SqliteLedger(path, BusyHandler(10)),
        host_clock=True,
    )


def _postgres(
    _: Path, stack: ExitStack, server: Callable[[], str | None] = postgres_server.url
) -> Engine:
    url = postgres_server.empty_queue(server)
    operator, service = (postgres_server.as_role(url, role) for role in ("operator", "service"))
    return Engine(
        stack, lambda: PostgresStore(operator), lambda: PostgresLedger(service), host_clock=False
    )


ENGINES: dict[str, Callable[[Path, ExitStack], Engine]] = {
    "sqlite": _sqlite,
    "postgres": _postgres,
    OTHER: partial(_postgres, server=postgres_server.other_version),
}
