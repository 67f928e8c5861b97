"""What users change with queuectl is in the log of the system."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from queued.ctl import change_log
from tests.cli import in_process_cli
from tests.cli.queuectl_runner import QueuectlRunner


@pytest.fixture
def lines(queuectl: QueuectlRunner, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are sent to syslog, from the command on."""
    sent = list[str]()
    for name, value in queuectl.location.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(change_log, "_send", sent.append)
    return sent


def _logged(lines: list[str], *words: str) -> list[str]:
    lines.clear()
    in_process_cli.check(words)
    return [line.partition("queue.db ")[2] or line for line in lines]


@pytest.mark.sqlite_only
def test_a_change_is_logged_with_its_filter_and_count(
    queuectl: QueuectlRunner, lines: list[str]
) -> None:
    for name in "abc":
        queuectl.add(name, queue="mail", delay=60)
    assert _logged(lines, "cancel", "--queue", "mail", "--dry-run") == []
    assert _logged(lines, "cancel", "--queue", "mail") == [], "--yes is missing"
    assert _logged(lines, "cancel", "--queue", "mail", "--yes") == [
        "jobs=3 command=queuectl cancel --queue mail --yes"
    ]
    assert lines[0].startswith("user=")
    retried = _logged(lines, "dlq", "retry", "a", "b")
    assert retried == ["jobs=2 command=queuectl dlq retry a b"]
    # A command that fails has made a part of the changes.
    assert _logged(lines, "cancel", "a", "c") == ["jobs=1 command=queuectl cancel a c"]
    assert _logged(lines, "purge", "--all", "--state", "cancelled", "--yes") == [
        "jobs=2 command=queuectl purge --all --state cancelled --yes"
    ]
    assert _logged(lines, "queue", "remove", "--yes", "mail") == [
        "jobs=1 command=queuectl queue remove --yes mail"
    ]
    assert _logged(lines, "list") == []


@pytest.mark.sqlite_only
def test_what_may_be_secret_is_not_logged(queuectl: QueuectlRunner, lines: list[str]) -> None:
    queuectl.add("a", delay=60)
    assert _logged(lines, "edit", "--set", "env=TOKEN=x", "--set", "command=y", "a") == [
        "jobs=1 command=queuectl edit --set env,command a"
    ]
    assert _logged(lines, "hold", "--command", "curl -u me:x", "--yes") == []
    assert _logged(lines, "hold", "--command", "y", "--label", "a=b", "--yes") == []
    assert _logged(lines, "hold", "--command", "y", "--yes") == [
        "jobs=1 command=queuectl hold --command --yes"
    ]
    assert _logged(lines, "config", "set", "on_dead", "curl -H x") == [
        "command=queuectl config set on_dead"
    ]
    assert _logged(lines, "schedule", "add", "s", "@daily", "--env", "A=x", "--", "y") == [
        "command=queuectl schedule add --env A s"
    ]


@pytest.mark.sqlite_only
def test_a_long_line_is_cut(queuectl: QueuectlRunner, lines: list[str]) -> None:
    queuectl.ok("enqueue", "--array", "1-200", "--id", "array", "--delay", "60", "true")
    (line,) = _logged(lines, "hold", *(f"array_{n}" for n in range(1, 201)))
    assert line.startswith("jobs=200 command=queuectl hold array_1 array_2 ")
    assert (len(lines[0]), line[-3:]) == (903, "...")


@pytest.mark.sqlite_only
def test_a_log_that_nobody_reads_or_that_is_missing_delays_no_command(
    queuectl: QueuectlRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    queuectl.add("a", queue="mail", delay=60)
    for name, value in queuectl.location.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(change_log, "_LOG", str(tmp_path / "log"))
    in_process_cli.check(("queue", "pause", "mail"))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as log:
        log.settimeout(5)
        log.bind(str(tmp_path / "log"))
        in_process_cli.check(("queue", "resume", "mail"))
        line = log.recv(2_000).decode()
        assert line.startswith("<13>")
        assert " queuectl[" in line
        assert line.endswith(" command=queuectl queue resume mail")
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other:
            other.settimeout(0)
            other.connect(str(tmp_path / "log"))
            with pytest.raises(BlockingIOError):
                while True:
                    other.send(b"full")
        in_process_cli.check(("queue", "pause", "mail"))
