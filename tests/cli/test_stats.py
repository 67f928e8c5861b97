"""db stats: the counts, and the size including the WAL."""

from queued.core.model import Chunk
from tests.cli.queuectl_runner import QueuectlRunner


def test_stats(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    queuectl.add("b")
    with queuectl.ledger.transaction():
        (claim,) = queuectl.ledger.claim("i", [1], 5, now_ms=10**15)
        queuectl.ledger.store_output(claim.key, Chunk(1, 0, b"hello"))
    told = queuectl.json("db", "stats")
    assert told["rows"] == {
        "jobs": 2,
        "attempts": 2,
        "output": 1,
        **dict.fromkeys(("settings", "instances", "workers"), 0),
    }
    assert (told["output_kept_bytes"], told["output_printed_bytes"]) == (5, 0)
    assert (told["oldest"]["id"], told["newest"]["id"]) == ("a", "b")
    assert told["bytes"] == told["pages"] * told["page_bytes"]
    shown = queuectl.ok("db", "stats")
    assert "rows of attempts   2" in shown
    assert max(map(len, shown.splitlines())) <= 80 or len(str(queuectl.database)) > 50


def test_stats_of_nothing(queuectl: QueuectlRunner) -> None:
    queuectl.ok("config", "set", "workers", "2")
    told = queuectl.json("db", "stats")
    assert (told["oldest"], told["newest"], told["rows"]["jobs"]) == (None, None, 0)


def test_the_size_of_what_is_partly_in_the_wal(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    claim = queuectl.claim()
    for position in range(0, 400_000, 50_000):
        queuectl.prints(claim, b"x" * 50_000, position=position)
    told = queuectl.json("db", "stats")
    assert told["wal_bytes"] > 400_000 > queuectl.database.stat().st_size
    assert told["bytes"] == told["pages"] * told["page_bytes"] > 400_000
    queuectl.ledger.close()
    assert queuectl.json("list")
    assert queuectl.database.stat().st_size == told["bytes"]
