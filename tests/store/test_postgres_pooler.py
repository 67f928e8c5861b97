"""pgbouncer between the programs and the server: a service needs a connection of its own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from queued.core.errors import ConfigError
from queued.core.model import NewJob, State
from queued.store.postgres import safety
from queued.store.postgres.client_store import PostgresStore
from queued.store.postgres.dispatcher_store import PostgresLedger
from tests import postgres_server
from tests.service import eventually

NOW = 1_700_000_000_000
CONF = """
[databases]
* = host={server} user=tester
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
"""


@pytest.fixture
def through(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts a pgbouncer of a mode; returns the URL of an empty queue behind it."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed: a queue behind a pooler was not tested")
    url = postgres_server.empty_queue()
    parts = urlsplit(url)
    server = parse_qs(parts.query)["host"][0]
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        conf = tmp_path / "pgbouncer.ini"
        conf.write_text(CONF.format(server=server, port=port, mode=mode))
        with conf.open() as opened:  # the directory may be closed to the user
            started.append(
                subprocess.Popen(
                    [program, f"/dev/fd/{opened.fileno()}"],
                    pass_fds=[opened.fileno()],
                    stderr=subprocess.DEVNULL,
                    **postgres_server.USER,
                )
            )
        eventually(lambda: _listens(port), "pgbouncer listens")
        return url.replace(f"@{parts.path}?host={server}&", f"@127.0.0.1:{port}{parts.path}?")

    yield start
    for process in started:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_service_needs_a_connection_of_its_own(through: Callable[[str], str]) -> None:
    url = through("transaction")
    with pytest.raises(ConfigError, match="pool_mode=session"):
        safety.must_be_safe(url)
    stores = [PostgresStore(url) for _ in range(2)]
    for store in stores:
        (name,) = store.enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
        assert store.cancel(store.find(name), now_ms=NOW) is State.CANCELLED
        store.close()


def test_a_service_works_through_a_pooler_in_session_mode(
    tmp_path: Path, through: Callable[[str], str]
) -> None:
    url = through("session")
    safety.must_be_safe(url)
    ledger, store = PostgresLedger(url, None, str(tmp_path / "q")), PostgresStore(url)
    watcher = ledger.watcher()
    watcher.read()
    with ledger.transaction():
        assert ledger.claim("i", [1], 1, now_ms=NOW) == []
        ledger.set_hungry("i", hungry=True)
    store.enqueue([NewJob("true")], max_retries=3, now_ms=NOW)
    eventually(lambda: watcher.read().database, "a notification")
    process = ledger._database.value("server_process")
    assert ledger._database._server.process == process
    for each in (watcher, ledger, store):
        each.close()
