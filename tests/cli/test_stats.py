"""queuectl stats: statistics of real runs, in a table, with bars on a terminal, and as JSON."""

import json
import os
import pty
import re

import pytest

from queued.core.model import Outcome
from queued.core.runs import Ending
from queued.core.times import iso, now_ms
from tests.cli import in_process_cli
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
    since, *titles = heading.split()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00Z", since)
    assert titles == ["RUNS", "OK", "WAIT", "p95", "RUN", "p50", "RUN", "p95"]
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


@pytest.mark.both_engines
def test_the_runs_of_some_commands(queuectl: QueuectlRunner) -> None:
    for n, command in enumerate(("make a", "make b", "make a\nb", "cmake a", "make [a")):
        queuectl.run(f"j{n}", command=command)
    for glob, runs in (("make *", 4), ("make ?", 2), ("*a", 3), ("make [a", 1), ("make [a]", 0)):
        assert queuectl.json("stats", "--command", glob)["all"]["runs"] == runs
    found = queuectl.json("stats", "--command", "make ?", "--by", "command")
    by_command = {name: one["runs"] for name, one in found["command"].items()}
    assert by_command == {"make a": 1, "make b": 1}
    assert queuectl.json("stats", "--not-command", "make *")["all"]["runs"] == 1
    both = ("--command", "*a", "--not-command", "c*")
    assert queuectl.json("stats", *both)["all"]["runs"] == 2


@pytest.mark.both_engines
def test_more_runs_than_are_read_are_said(
    queuectl: QueuectlRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queued.ctl.stats._MOST_READ", 3)
    ended = now_ms()
    for n in range(4):
        queuectl.run(f"j{n}", Ending(Outcome.EXIT, 0, ended_ms=ended - 1000 + n))
    assert queuectl.json("stats")["all"]["runs"] == 4
    assert queuectl.json("stats", "--by", "command", "--all")["all"]["runs"] == 4
    with in_process_cli.surroundings(queuectl.directory, queuectl.env()):
        done = in_process_cli.run(["stats", "--by", "command", "--json"])
    found = json.loads(done.out)
    assert done.err == "queuectl: only the newest 3 runs were read; --all reads all\n"
    assert (found["all"]["runs"], found["since"]) == (3, iso(ended - 999))
    monkeypatch.setattr("queued.ctl.stats._MOST_READ", 4)
    assert queuectl.json("stats", "--by", "command")["all"]["runs"] == 4


@pytest.mark.both_engines
def test_purged_runs_are_counted_and_an_empty_label_is_a_group(queuectl: QueuectlRunner) -> None:
    for n, text in enumerate(("", "x", "x")):
        queuectl.run(f"j{n}", labels={"customer": text})
    found = queuectl.json("stats", "--by", "label:customer")
    assert {name: one["runs"] for name, one in found["label:customer"].items()} == {"x": 2, "": 1}
    assert found["all"]["runs"] == 3
    queuectl.ok("purge", "--all", "--yes")
    assert queuectl.json("stats", "--by", "queue")["queue"]["default"]["runs"] == 3
    assert queuectl.json("stats", "--by", "command")["command"] == {}
