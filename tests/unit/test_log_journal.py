"""Lines for the journal of systemd: entries with fields, which wait for nothing."""

import json
import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from logging_journald import JournaldTransport

from queued.service.log import LogOutput


def _lead_to_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is another file in a test than in its fixtures."""
    found = os.fstat(1)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")


@pytest.fixture
def address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Path:
    """The place of the journal's socket. Standard output seems to lead to the journal, too."""
    _lead_to_journal(monkeypatch)
    monkeypatch.setattr(JournaldTransport, "SOCKET_PATH", tmp_path / "socket")
    return tmp_path / "socket"


@pytest.fixture
def journal(address: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as made:
        made.bind(str(address))
        yield made


@pytest.fixture
def output(journal: socket.socket) -> Iterator[LogOutput]:
    made = LogOutput("info", "json")
    yield made
    made._lines._journal._transport.socket.close()  # type: ignore[union-attr]


def _entry(journal: socket.socket) -> dict[str, str]:
    """Reads an entry without long values: https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""
    assert select.select([journal], [], [], 5)[0]
    lines = journal.recv(1 << 20).decode().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_an_entry_has_the_json_and_fields(journal: socket.socket, output: LogOutput) -> None:
    output.log(role="dispatcher").error(
        "job.dead", job="a=b", queue="q", outcome="exit", state="dead"
    )
    entry = _entry(journal)
    assert json.loads(entry["MESSAGE"])["job"] == "a=b"
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("3", "queued")
    own = {name: value for name, value in entry.items() if name.startswith("QUEUED_")}
    assert own == {
        "QUEUED_EVENT": "job.dead",
        "QUEUED_JOB": "a=b",
        "QUEUED_QUEUE": "q",
        "QUEUED_STATE": "dead",
    }


def test_a_line_without_a_job_has_no_fields_of_jobs(
    journal: socket.socket, output: LogOutput
) -> None:
    output.log().info("service.ready")
    assert "QUEUED_JOB" not in _entry(journal)


def test_lines_reach_a_journal_that_is_back_after_lines_that_found_none(
    address: Path, journal: socket.socket, output: LogOutput
) -> None:
    journal.close()
    address.unlink()
    output.log().info("service.started")
    output.log().info("service.ready")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as back:
        back.bind(str(address))
        output.log().info("service.stopped")
        assert _entry(back)["QUEUED_EVENT"] == "service.stopped"


@pytest.mark.timeout(20)
def test_a_journal_that_does_not_read_delays_one_line_and_is_told_of_the_rest(
    journal: socket.socket, output: LogOutput
) -> None:
    log = output.log()
    for _ in range(3000):
        log.info("job.printed")
    kept = 0
    while select.select([journal], [], [], 0)[0]:
        kept += _entry(journal)["QUEUED_EVENT"] == "job.printed"
    log.info("service.ready")
    note, line = _entry(journal), _entry(journal)
    assert json.loads(note["MESSAGE"])["lines"] == 3000 - kept > 0
    assert (note["QUEUED_EVENT"], note["PRIORITY"]) == ("log.dropped", "4")
    assert line["QUEUED_EVENT"] == "service.ready"


@pytest.mark.timeout(20)
def test_a_journal_that_was_restarted_gets_the_next_lines_and_does_not_block_either(
    journal: socket.socket, address: Path, output: LogOutput
) -> None:
    log = output.log()
    journal.close()
    address.unlink()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as again:
        again.bind(str(address))
        for _ in range(3000):
            log.info("job.printed")
        assert _entry(again)["QUEUED_EVENT"] == "job.printed"


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")  # the library's, at its end
def test_without_a_socket_lines_go_to_stdout_with_their_priority(
    address: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not address.exists()
    _lead_to_journal(monkeypatch)
    LogOutput("info", "json").log().warning("service.stopping")
    line = capfd.readouterr().out
    assert line.startswith('<4>{"ts"')
