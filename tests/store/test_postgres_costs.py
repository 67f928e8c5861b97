"""PostgreSQL: what a command of queuectl costs beside the driver: modules, and statements."""

import subprocess
import sys
from contextlib import closing
from typing import Any

import psycopg
import pytest

from queued.core.model import NewJob
from queued.store.postgres import sql_loader
from queued.store.postgres.client_store import PostgresStore
from queued.store.postgres.connection import Database
from tests import postgres_server

_LOADED = """
import sys
from queued.ctl.command_line import main
assert main(["--db", sys.argv[1], "enqueue", "true"]) == 0
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


@pytest.fixture
def queue() -> str:
    return postgres_server.empty_queue()


def test_an_enqueue_loads_no_module_that_only_other_commands_need(queue: str) -> None:
    words = [sys.executable, "-c", _LOADED, queue]
    loaded = subprocess.run(words, check=True, capture_output=True, text=True).stderr.split("\n")
    assert "psycopg" in loaded
    others = {"cronsim", "graphlib", "hashlib", "queued.core.schedules", "queued.store.protocols"}
    assert others.isdisjoint(loaded)


def test_an_enqueue_sends_few_statements(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a round trip, which takes a millisecond in a network of a site, and more beyond."""
    sent: list[str | bytes] = []
    plain = psycopg.Connection.execute

    def execute(self: Any, query: str | bytes, *rest: Any, **named: Any) -> Any:
        sent.append(query)
        return plain(self, query, *rest, **named)

    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    with closing(PostgresStore(queue)) as store:
        assert len(sent) == 5, sent  # the server, BEGIN, is there a schema, which one, ROLLBACK
        store.enqueue([NewJob("true")], max_retries=1, now_ms=1)
        assert len(sent) == 10, sent  # BEGIN, its queue, INSERT, COMMIT, NOTIFY


def test_a_statement_gets_its_form_when_it_is_first_used(queue: str) -> None:
    sql_loader.load.cache_clear()  # other tests have used most of them
    with closing(Database(queue, application="test", serving=False)) as database:
        formed = database._sql._formed  # type: ignore[attr-defined]
        assert 0 < len(formed) < len(database._sql) / 2
