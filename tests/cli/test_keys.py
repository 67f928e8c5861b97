"""Jobs with a key, of which few run at once: what is refused, discarded, found and shown."""

import json
import re

import pytest

from queued.core.times import now_ms
from tests.cli.queuectl_runner import QueuectlRunner

pytestmark = pytest.mark.both_engines


def test_a_job_with_a_key_is_found_and_shown(queuectl: QueuectlRunner) -> None:
    queuectl.ok("enqueue", "--id", "a", "--key", "k", "--key-limit", "2", "true")
    queuectl.ok("enqueue", "--id", "b", "--key", "K", "true")
    queuectl.ok("enqueue", "--id", "free", "true")
    assert queuectl.ok("list", "--key", "k", "--quiet").split() == ["a"]
    assert queuectl.json("show", "a")["key_limit"] == 2
    assert re.search(r"key +k \(limit 2\)\n", queuectl.ok("show", "a"))
    assert "key" not in queuectl.json("show", "free")
    queuectl.ok("cancel", "a")
    again = queuectl.ok("rerun", "a").strip()
    assert queuectl.json("show", again)["key"] == "k"


def test_a_rate_is_shown_and_repeated(queuectl: QueuectlRunner) -> None:
    rated = ("--key", "k", "--key-rate", "10/min")
    queuectl.ok("enqueue", "--id", "a", *rated, "true")
    queuectl.ok("enqueue", "--id", "b", *rated, "--key-limit", "2", "true")
    queuectl.ok("enqueue", "--id", "plain", "--key", "k", "true")
    one = queuectl.json("show", "a")
    assert (one["key_limit"], one["key_rate"]) == (1000, "10/minute")
    assert re.search(r"key +k \(limit 2, rate 10/minute\)\n", queuectl.ok("show", "b"))
    assert "key_rate" not in queuectl.json("show", "plain")
    queuectl.ok("cancel", "b")
    again = queuectl.json("show", queuectl.ok("rerun", "b").strip())
    assert (again["key_limit"], again["key_rate"]) == (2, "10/minute")


def test_a_job_that_waits_for_a_rate_names_the_next_start(queuectl: QueuectlRunner) -> None:
    for name in "ab":
        queuectl.add(name, key="k", key_rate="1/hour")
    ledger = queuectl.ledger
    with ledger.transaction():
        ledger.promote(now_ms=now_ms(), limit=10)
        assert len(ledger.claim("i", [1, 2], 7, now_ms=now_ms())) == 1
    with ledger.transaction():
        ledger.promote(now_ms=now_ms(), limit=10)
    told = r"its key k has reached its rate 1/hour: next start at \S+"
    assert re.search(rf"state +blocked \({told}", queuectl.ok("show", "b"))
    assert re.search(told, queuectl.ok("list", "b"))
    assert re.fullmatch(rf"{told}.*", str(queuectl.json("show", "b")["blocked"]))


def test_a_discarded_job_gives_the_id_of_one_that_uses_its_key(queuectl: QueuectlRunner) -> None:
    discard = ("enqueue", "--key", "k", "--on-conflict", "discard")
    assert json.loads(queuectl.ok(*discard, "--json", "--id", "a", "true"))["existing"] is False
    done = queuectl(*discard, "true")
    assert done[:2] == (0, "a\n")
    assert done.err.startswith("queuectl: not added: the job a uses the key\n")
    assert queuectl.ids() == ["a"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"key_limit": 2}, "key_limit needs a key"),
        ({"on_conflict": "discard"}, "on_conflict needs a key"),
        ({"key": "k", "key_limit": 0}, "key_limit takes a whole number from 1 to 1000, not 0"),
        ({"key": "k", "on_conflict": "run"}, 'on_conflict takes wait or discard, not "run"'),
        ({"key_rate": "1/s"}, "key_rate needs a key"),
        ({"key": "k", "key_rate": 10}, 'key_rate takes a text such as "10/minute", not 10'),
        ({"key": "k", "key_rate": "0/s"}, "key_rate: a rate is N/TIME with 1 to 100000 starts"),
        ({"key": ""}, "key takes 1 to 200 printable characters"),
    ],
)
def test_what_a_key_cannot_be(
    queuectl: QueuectlRunner, fields: dict[str, object], told: str
) -> None:
    queuectl.add("a")
    done = queuectl("enqueue", json.dumps({"command": "true", **fields}))
    assert done.code == 2
    assert told in done.err
    assert queuectl.ids() == ["a"]


def test_a_job_that_waits_names_the_job_that_uses_its_key(queuectl: QueuectlRunner) -> None:
    for name in "ab":
        queuectl.ok("enqueue", "--id", name, "--key", "k", "true")
    with queuectl.ledger.transaction():
        queuectl.ledger.promote(now_ms=now_ms(), limit=10)
    assert queuectl.claim().id == "a"
    told = "its key k is in use by a"
    assert queuectl.json("show", "b")["blocked"] == told
    assert f"blocked ({told})" in queuectl.ok("show", "b")
