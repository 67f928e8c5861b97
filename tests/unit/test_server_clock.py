"""What the time of an answer says of the server's clock."""

import pytest

from queued.store.postgres import server
from queued.store.postgres.server import Server


@pytest.mark.parametrize(
    ("server_ms", "ahead_ms"),
    [(1000, 0), (0, 0), (1001, 0), (5000, 4500)],
    ids=["a slow request", "a slow answer", "rounded up", "another clock"],
)
def test_only_more_than_the_error_sets_the_clock(
    server_ms: int, ahead_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "boot_ms", lambda: 1000)
    assert Server(0, "a/1").measured(0, server_ms, "a/1") == Server(ahead_ms, "a/1")
