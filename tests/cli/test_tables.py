"""list, show, status, dlq list: tables of 80 columns for people, JSON for programs."""

import fcntl
import json
import os
import struct
import subprocess
import termios

import pytest
from wcwidth import wcswidth

from queued.core.model import Ending, Outcome
from tests.cli.queuectl_runner import Program, failed, timeless

WIDE_ID = "w" * 64
FIELDS = {
    *("id", "command", "state", "queue", "priority", "attempts", "max_retries", "runs"),
    *("next_run_at", "created_at", "updated_at", "last_error", "options"),
}


@pytest.fixture
def full(queuectl: Program) -> Program:
    """One job of each kind, with what makes tables difficult."""
    queuectl.run("done")
    queuectl.run("wrong", failed(1, b"no luck\n"))
    queuectl.run("gone", failed(127, b"sh: 1: nope: not found\n"), max_retries=1, command="nope")
    queuectl.run(WIDE_ID, Ending(Outcome.SIGNAL, signal="SIGKILL"), max_retries=1, queue="night")
    queuectl.add("running", "sleep 100")
    queuectl.claim()
    queuectl.add("later", "echo later", delay=7200)
    queuectl.add("ready", "printf '\x1b[31m%s\n' 世界" + " and more" * 20)
    queuectl.add("not-wanted")
    queuectl.ok("cancel", "not-wanted")
    return queuectl


LIST = """\
ID                STATE       TRIES        WHEN  COMMAND
done              completed   0/3       NOW ago  true
wrong             failed      1/3      in LATER  true
gone              dead        1/1       NOW ago  nope
wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww
                  dead        1/1       NOW ago  true
running           processing  0/3       NOW ago  sleep 100
later             scheduled   0/3      in LATER  echo later
ready             pending     0/3       NOW ago  printf '\\x1b[31m%s\\n' 世界 and…
not-wanted        cancelled   0/3       NOW ago  true
"""


def test_list(full: Program) -> None:
    shown = timeless(full.ok("list"))
    assert shown == timeless(LIST.replace("NOW", "0.1s").replace("LATER", "1h59m"))


@pytest.mark.parametrize("command", [["list"], ["dlq", "list"], ["status"], ["config", "list"]])
def test_tables_fit_80_columns(full: Program, command: list[str]) -> None:
    full(*command, QUEUECTL_DB=str(full.database))
    lines = full(*command).out.splitlines()
    assert lines
    assert max(wcswidth(line) for line in lines) <= 80


@pytest.mark.parametrize("name", ["ready", "gone", WIDE_ID])
def test_show_fits_80_columns_and_loses_nothing(full: Program, name: str) -> None:
    lines = full.ok("show", name).splitlines()
    assert max(wcswidth(line) for line in lines) <= 80
    assert name in lines[0]
    if name == "ready":
        assert "".join(line[10:] for line in lines).count("and more") == 20


def test_list_json(full: Program) -> None:
    jobs = full.json("list")
    assert [job["state"] for job in jobs] == [
        *("completed", "failed", "dead", "dead", "processing", "scheduled", "pending", "cancelled"),
    ]
    assert all(set(job) == FIELDS for job in jobs)
    assert jobs[2]["last_error"] == "exit 127 (command not found): sh: 1: nope: not found"
    assert jobs[6]["command"].startswith("printf '\x1b[31m%s\n' 世界")


def test_an_empty_list_is_an_array_too(queuectl: Program) -> None:
    assert queuectl.ok("list", "--json") == "[]\n"
    assert queuectl.ok("dlq", "list", "--json") == "[]\n"
    assert queuectl("list") == (0, "", "no jobs\n")


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--state", "pending"], ["wrong", "later", "ready"]),
        (["--state", "failed"], ["wrong"]),
        (["--state", "scheduled"], ["later"]),
        (["--state", "dead"], ["gone", WIDE_ID]),
        (["--state", "completed"], ["done"]),
        (["--queue", "night"], [WIDE_ID]),
        (["--queue", "none"], []),
        (["--limit", "2"], ["done", "wrong"]),
        (["--limit", "2", "--reverse"], ["not-wanted", "ready"]),
        (["--state=dead", "--reverse"], [WIDE_ID, "gone"]),
    ],
)
def test_list_filters(full: Program, options: list[str], ids: list[str]) -> None:
    assert [job["id"] for job in full.json("list", *options)] == ids


def test_dlq_list(full: Program) -> None:
    assert timeless(full.ok("dlq", "list")) == timeless(
        f"""\
ID                TRIES        DIED  COMMAND, AND WHY IT DIED
gone              1/1      0.1s ago  nope
    exit 127 (command not found): sh: 1: nope: not found
{WIDE_ID}
                  1/1      0.1s ago  true
    signal SIGKILL
"""
    )


def test_show(full: Program) -> None:
    assert timeless(full.ok("show", "gone")) == (
        """\
id          gone
command     nope
state       dead
attempts    1 of 1 failed, run 1 times
last error  exit 127 (command not found): sh: 1: nope: not found
queue       default
priority    0
next run    MOMENT-OF-TWENTYFOUR-CHR
created     MOMENT-OF-TWENTYFOUR-CHR
updated     MOMENT-OF-TWENTYFOUR-CHR

  #  STARTED                      RAN     CPU   PEAK  PRINTED  OUTCOME
  1  MOMENT-OF-TWENTYFOUR-CHR    1.5s    0.0s   3.4M       0B  exit 127
"""
    )


def test_show_json(full: Program) -> None:
    job = full.json("show", "wrong")
    assert set(job) == {*FIELDS, "cancel_requested_at", "attempts_history"}
    (attempt,) = job["attempts_history"]
    assert (attempt["attempt"], attempt["outcome"], attempt["exit_code"]) == (1, "exit", 1)
    assert (attempt["ran_seconds"], attempt["cpu_seconds"]) == (1.5, 0.02)


def test_status(full: Program) -> None:
    done = full("status")
    assert done.code == 0
    assert done.err == "no service runs (start one with: queuectl worker start)\n"
    *lines, oldest = done.out.splitlines()
    assert lines == [
        "pending             3  of which",
        "  scheduled         1  not due yet",
        "  failed            1  wait for a retry",
        "processing          1",
        "completed           1",
        "dead                2",
        "cancelled           1",
        "workers             0",
    ]
    assert oldest.startswith("oldest due")


def test_status_json(full: Program) -> None:
    status = full.json("status")
    age = status.pop("oldest_age")
    assert 0 <= age < 60
    assert status == {
        "pending": 3,
        "scheduled": 1,
        "failed": 1,
        "processing": 1,
        "completed": 1,
        "dead": 2,
        "cancelled": 1,
        "workers": 0,
        "instances": 0,
    }


def test_status_of_nothing(queuectl: Program) -> None:
    status = queuectl.json("status")
    assert status.pop("oldest_age") is None
    assert set(status.values()) == {0}


@pytest.mark.parametrize("state", ["foo", "failled", "DEAD", ""])
def test_unknown_state(queuectl: Program, state: str) -> None:
    done = queuectl("list", "--state", state)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"queuectl: unknown state {state!r}")
    names = "pending, scheduled, failed, processing, completed, dead, cancelled"
    assert done.err.endswith(f"(one of {names})\n")


def test_a_reader_that_goes_early(queuectl: Program) -> None:
    lines = "".join(json.dumps({"command": f"echo {n}"}) + "\n" for n in range(3000))
    queuectl.ok("enqueue", "-", stdin=lines)
    for options in ([], ["--json"]):
        line = subprocess.list2cmdline(queuectl.line("list", *options))
        done = subprocess.run(
            ["bash", "-c", f"{line} | head -n1; echo ${{PIPESTATUS[0]}}"],
            env=queuectl.env(),
            capture_output=True,
            check=False,
        )
        assert done.stdout.decode().splitlines()[-1] == "141"  # as SIGPIPE ends a program
        assert done.stderr == b""


def _on_terminal(queuectl: Program, *words: str, lines: int, columns: int = 80) -> tuple[str, str]:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = queuectl.start(*words, stdout=theirs)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # the terminal's other side was closed
        pass
    os.close(ours)
    _, err = process.communicate(timeout=10)
    return seen.decode().replace("\r\n", "\n"), err.decode()


def test_a_screenful(queuectl: Program) -> None:
    lines = "".join(json.dumps({"id": f"j{n:02}", "command": "true"}) + "\n" for n in range(50))
    queuectl.ok("enqueue", "-", stdin=lines)
    out, err = _on_terminal(queuectl, "list", lines=24)
    assert len(out.splitlines()) == 22
    assert err == "… 29 more; --limit N shows N of them, a pipe shows all\n"
    out, err = _on_terminal(queuectl, "list", "--limit", "40", lines=24)
    assert (len(out.splitlines()), err) == (41, "")
    out, err = _on_terminal(queuectl, "list", "--state", "pending", "--reverse", lines=100)
    assert (len(out.splitlines()), err) == (51, "")


def test_a_wider_terminal_shows_more(queuectl: Program) -> None:
    queuectl.add("a", "echo " + "x" * 300)
    out, _ = _on_terminal(queuectl, "list", lines=24, columns=132)
    assert max(map(len, out.splitlines())) == 132
