"""queuectl stats: statistics of real runs, in a table, with bars on a terminal, and as JSON."""

import json
import os
import pty

import pytest

from tests.cli.queuectl_runner import QueuectlRunner
from tests.service import Queue, python_env


@pytest.mark.both_engines
def test_the_statistics_of_real_runs(queue: Queue) -> None:
    queue.add_all(["sleep 0.3", "true", "true"], queue="a")
    queue.add_once("exit 1", queue="b", labels={"customer": "7"})
    assert queue.spawn("--drain").ended() == 0
    found = json.loads(queue.queuectl("stats", "--by", "queue", "--json").stdout)
    assert list(found["queue"]) == ["a", "b"]
    a, b = found["queue"].values()
    assert (a["runs"], a["success"], a["retries"]) == (3, 1.0, 0)
    assert 0.29 <= a["run_seconds"]["p99"] < 60
    assert a["run_seconds"]["p50"] < a["run_seconds"]["p99"]
    assert a["wait_seconds"]["p50"] > 0
    assert (b["runs"], b["success"], b["failed"], b["retries"]) == (2, 0.5, 1, 1)
    assert found["all"]["runs"] == 5
    assert found["all"]["peak_kib"] > 0
    labelled = json.loads(queue.queuectl("stats", "--by", "label:customer", "--json").stdout)
    runs = {name: one["runs"] for name, one in labelled["label:customer"].items()}
    assert runs == {"(none)": 3, "7": 2}
    narrow = queue.queuectl(
        "stats", "--by", "result", env=python_env() | queue.env | {"COLUMNS": "80"}
    )
    heading, *lines = narrow.stdout.splitlines()
    assert heading.split() == ["RUNS", "OK", "WAIT", "p95", "RUN", "p50", "RUN", "p95"]
    assert [line.split()[:3] for line in lines] == [
        ["completed", "4", "100%"], ["exit", "1", "0%"], ["all", "5", "80%"],
    ]  # fmt: skip


def test_a_terminal_shows_bars(queuectl: QueuectlRunner) -> None:
    for name in "abc":
        queuectl.run(name)
    ours, theirs = pty.openpty()
    process = queuectl.start("stats", "--by", "result", "--since", "1000w", stdout=theirs)
    assert process.wait(20) == 0
    os.close(theirs)
    assert "█" * 10 in os.read(ours, 10_000).decode()
    os.close(ours)
    assert "█" not in queuectl.ok("stats", "--by", "result", "--since", "1000w")


def test_an_unknown_key_is_refused(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    done = queuectl("stats", "--by", "day")
    message = "queuectl: --by takes queue, command, hour, result or label:NAME, not 'day'\n"
    assert (done.code, done.err) == (2, message)
