"""list, show, dlq list: tables of 80 columns for people, JSON for programs."""

import json
import re
import subprocess

import pytest
from wcwidth import wcswidth

from queued.core.model import Outcome
from queued.core.runs import Ending
from tests.cli.queuectl_runner import QueuectlRunner, Screen, failed, timeless

WIDE_ID = "w" * 64
FIELDS = {
    *("id", "command", "state", "queue", "priority", "attempts", "max_retries", "runs"),
    *("requires", "blocked", "slots", "submitted_by"),
    *("next_run_at", "created_at", "updated_at", "last_error", "options"),
    *("started_at", "ended_at", "ran_seconds", "outcome", "exit_code"),
}


@pytest.fixture
def full(queuectl: QueuectlRunner) -> QueuectlRunner:
    """A job of each kind, with wide, long and unprintable fields."""
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
ID             STATE       QUEUE    FAILS  TIME       COMMAND / WHY
done           completed   default  0/3    AGO  true
wrong          failed      default  1/3    IN  true  ← exit 1: no luck
gone           dead        default  1/1    AGO  nope  ← exit 127 (command not found): sh: 1: nope: not found
wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww  dead        night    1/1    AGO  true  ← signal SIGKILL
running        processing  default  0/3    FOR  sleep 100
later          scheduled   default  0/3    IN  echo later
ready          pending     default  0/3    FOR  COMMAND
not-wanted     cancelled   default  0/3    AGO  true
"""  # noqa: E501  nothing is cut in a pipe


def _timeless(text: str) -> str:
    text = re.sub(r"\b[\d.]+\w* ago *", "AGO  ", text)
    return re.sub(r"\b(in|for) [\d.]+[smhd]\w* *", lambda found: f"{found[1].upper()}  ", text)


def test_list_in_a_pipe(full: QueuectlRunner) -> None:
    command = "printf '\\x1b[31m%s\\n' 世界" + " and more" * 20
    assert _timeless(full.ok("list")) == LIST.replace("COMMAND\n", f"{command}\n")


@pytest.mark.parametrize("command", [["list"], ["dlq", "list"], ["status"], ["config", "list"]])
def test_tables_fit_as_many_columns_as_the_user_says(
    full: QueuectlRunner, command: list[str]
) -> None:
    lines = full(*command, COLUMNS="80").out.splitlines()
    assert lines
    assert max(wcswidth(line) for line in lines) <= 80


def test_a_narrow_table_shows_command_and_reason(full: QueuectlRunner) -> None:
    lines = full("dlq", "list", COLUMNS="80").out.splitlines()
    assert _timeless(lines[1]) == (
        "gone           default  1/1    AGO  nope  ← exit 127 (command not found):…"
    )
    assert lines[2].startswith(WIDE_ID)


@pytest.mark.parametrize("name", ["ready", "gone", WIDE_ID])
def test_show_fits_80_columns_and_loses_nothing(full: QueuectlRunner, name: str) -> None:
    lines = full.ok("show", name, COLUMNS="80").splitlines()
    assert max(wcswidth(line) for line in lines) <= 80
    assert name in lines[0]
    if name == "ready":
        assert "".join(line[10:] for line in lines).count("and more") == 20


def test_list_json(full: QueuectlRunner) -> None:
    jobs = full.json("list")
    assert [job["state"] for job in jobs] == [
        *("completed", "failed", "dead", "dead", "processing", "scheduled", "pending", "cancelled"),
    ]
    assert all(set(job) == FIELDS for job in jobs)
    assert jobs[2]["last_error"] == "exit 127 (command not found): sh: 1: nope: not found"
    assert jobs[6]["command"].startswith("printf '\x1b[31m%s\n' 世界")


def test_an_empty_list_is_an_array_too(queuectl: QueuectlRunner) -> None:
    queuectl.ok("config", "set", "workers", "2")
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
        (["--state", "dead,completed"], ["done", "gone", WIDE_ID]),
        (["--state", "scheduled,dead", "--reverse", "-n2"], ["later", WIDE_ID]),
        (["--state", "pending,failed"], ["wrong", "later", "ready"]),
        (["--since", "1h", "-q", "night"], [WIDE_ID]),
        (["--since", "0"], []),
        (["--since", "2020-01-01", "-q", "night"], [WIDE_ID]),
        (["--older-than", "2020-01-01T00:00Z"], []),
        (["--exit-code", "1", "--outcome", "exit"], ["wrong"]),
        (["--command", "nope"], ["gone"]),
        (["--older-than", "1h"], []),
        (["--label", "a=b"], []),
        (["--after", "wrong", "-n", "2"], ["gone", WIDE_ID]),
        (["--after", "wrong", "--reverse"], ["done"]),
        (["ready", "done"], ["ready", "done"]),
        (["--sort", "due", "--reverse", "-n", "1"], ["later"]),
        (["--sort", "fails", "--reverse", "-n", "3"], [WIDE_ID, "gone", "wrong"]),
    ],
)
def test_list_filters(full: QueuectlRunner, options: list[str], ids: list[str]) -> None:
    assert [job["id"] for job in full.json("list", *options)] == ids


def test_a_list_in_the_order_of_the_starts(queuectl: QueuectlRunner) -> None:
    for name in "abc":
        queuectl.add(name, priority="bca".index(name))
    first, second = queuectl.claim(), queuectl.claim(worker=2)
    assert (first.id, second.id) == ("a", "c")
    assert queuectl.ids("--sort", "started") == ["a", "c", "b"]
    assert queuectl.ids("--sort", "started", "--reverse", "-n", "2") == ["b", "c"]


def test_a_table_without_a_heading(full: QueuectlRunner) -> None:
    for form in ("id,state", "tsv,id,state"):
        heading, *rows = full.ok("list", "-o", form).splitlines()
        assert heading.lower().split() == ["id", "state"]
        assert full.ok("list", "-o", form, "--no-heading").splitlines() == rows


def test_dlq_list(full: QueuectlRunner) -> None:
    assert [line.split()[0] for line in full.ok("dlq", "list").splitlines()] == [
        *("ID", "gone", WIDE_ID),
    ]
    assert full.ok("dlq", "list", "--quiet") == f"gone\n{WIDE_ID}\n"


def test_chosen_columns(full: QueuectlRunner) -> None:
    shown = full.ok("list", "--state", "dead", "-o", "id,exit,outcome,ran,why").splitlines()
    assert shown[0].split() == ["ID", "EXIT", "OUTCOME", "RAN", "WHY"]
    assert shown[1].split()[:4] == ["gone", "127", "exit", "1.5s"]
    done = full("list", "-o", "id,comand")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("queuectl: unknown column 'comand'; did you mean 'command'?")


def test_forms_for_programs(full: QueuectlRunner) -> None:
    records = [json.loads(line) for line in full.ok("list", "-o", "jsonl").splitlines()]
    assert records == full.json("list") == json.loads(full.ok("list", "-o", "json"))
    names, *rows = [line.split("\t") for line in full.ok("list", "-o", "tsv").splitlines()]
    assert {len(row) for row in rows} == {len(names)}
    assert rows[2][names.index("exit")] == "127"
    assert rows[6][names.index("command")].startswith("printf '\\x1b")
    assert rows[2][names.index("ran")] == str(records[2]["ran_seconds"])
    chosen = full.ok("list", "-o", "tsv,id,time", rows[2][0]).splitlines()
    assert chosen == ["id\ttime", f"{rows[2][0]}\t{records[2]['updated_at']}"]
    refused = "queuectl: -o json stands alone; only tsv may have columns after it: tsv,id,state\n"
    assert full("list", "-o", "json,id") == (2, "", refused)


def test_color(full: QueuectlRunner) -> None:
    assert "\x1b[31mdead\x1b[m" in full.ok("list", "--color", "always")
    assert "\x1b" not in full.ok("list")
    assert full("list", "--color", "sometimes").code == 2
    assert b"\x1b[31mdead\x1b[m" in full.on_terminal("list").out
    assert b"\x1b" not in full.on_terminal("list", NO_COLOR="1").out


def test_show(full: QueuectlRunner) -> None:
    shown = full.ok("show", "gone")
    assert timeless(re.sub("submitted by  .+", "submitted by  USER", shown)) == (
        """\
id            gone
command       nope
state         dead
attempts      1 of 1 failed, runs: 1
last error    exit 127 (command not found): sh: 1: nope: not found
queue         default
priority      0
created       MOMENT-OF-TWENTYFOUR-CHR
updated       MOMENT-OF-TWENTYFOUR-CHR
submitted by  USER

  #  STARTED                      RAN     CPU   PEAK  PRINTED  OUTCOME
  1  MOMENT-OF-TWENTYFOUR-CHR    1.5s    0.0s   3.4M       0B  exit 127
"""
    )


def test_show_json(full: QueuectlRunner) -> None:
    job = full.json("show", "wrong")
    assert set(job) == {*FIELDS, "cancel_requested_at", "dependencies", "attempts_history"}
    (attempt,) = job["attempts_history"]
    assert (attempt["attempt"], attempt["outcome"], attempt["exit_code"]) == (1, "exit", 1)
    assert (attempt["ran_seconds"], attempt["cpu_seconds"]) == (1.5, 0.02)


@pytest.mark.parametrize("state", ["foo", "failled", "DEAD", ""])
def test_unknown_state(queuectl: QueuectlRunner, state: str) -> None:
    done = queuectl("list", "--state", state)
    assert (done.code, done.out) == (2, "")
    names = "pending, scheduled, held, blocked, failed, processing, completed, dead or cancelled"
    assert done.err.startswith(f"queuectl: --state takes {names}, not {state!r}")


def test_a_reader_that_goes_early(queuectl: QueuectlRunner) -> None:
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


def _shown(screen: Screen) -> list[str]:
    return [line.split()[0] for line in screen.out.decode().splitlines()[1:]]


def test_a_screenful(queuectl: QueuectlRunner) -> None:
    lines = "".join(json.dumps({"id": f"j{n:02}", "command": "true"}) + "\n" for n in range(50))
    queuectl.ok("enqueue", "-", stdin=lines)
    screen = queuectl.on_terminal("list")
    assert _shown(screen) == [f"j{n:02}" for n in range(21)]
    assert screen.err == "… 29 pending: queuectl list --all\n"
    screen = queuectl.on_terminal("list", "--limit", "40")
    assert (len(_shown(screen)), screen.err) == (40, "")
    screen = queuectl.on_terminal("list", "--all")
    assert (len(_shown(screen)), screen.err) == (50, "")
    screen = queuectl.on_terminal("list", "--state", "pending", "--reverse", lines=100)
    assert (_shown(screen)[0], screen.err) == ("j49", "")


def test_a_screen_shows_active_jobs_then_dead_ones(queuectl: QueuectlRunner) -> None:
    for number in range(9):
        queuectl.run(f"done{number}")
        queuectl.run(f"dead{number}", failed(1), max_retries=1)
    assert _shown(queuectl.on_terminal("list", lines=8)) == [f"dead{n}" for n in range(4, 9)]
    for number in range(9):
        queuectl.add(f"new{number}")
    queuectl.claim()
    screen = queuectl.on_terminal("list", lines=12)
    assert _shown(screen) == ["new0", "new1", "new2", "new3", "new4", "new5", *_dead(6)]
    assert screen.err == "… 3 pending, 9 completed, 6 dead: queuectl list --all\n"
    screen = queuectl.on_terminal("list", "--state", "completed", lines=8)
    assert _shown(screen) == [f"done{n}" for n in range(4, 9)]
    assert screen.err == "… 4 completed: queuectl list --all --state completed\n"


def _dead(first: int) -> list[str]:
    return [f"dead{number}" for number in range(first, 9)]


def test_a_screen_names_the_command_that_shows_what_it_hides(queuectl: QueuectlRunner) -> None:
    queuectl.run("done", queue="a&b")
    queuectl.add("new", queue="a&b")
    queuectl.add("other")
    of_queue = ("list", "--queue", "a&b")
    screen = queuectl.on_terminal(*of_queue)
    assert screen.err == "… 1 completed: queuectl list --all --queue 'a&b'\n"
    screen = queuectl.on_terminal(*of_queue, "--since", "1h")
    assert screen.err == "… more: queuectl list --all --queue 'a&b' --since 1h\n"
    every_state = ("--state", "pending,completed")
    for options in (every_state, (*every_state, "--since", "1h")):
        assert queuectl.on_terminal(*of_queue, *options).err == ""
    assert queuectl.on_terminal("list", "-q", "default", "--since", "1h").err == ""


def test_a_screen_shows_what_completed_if_there_is_nothing_else(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    assert (_shown(queuectl.on_terminal("list"))) == ["a"]


def test_a_wider_terminal_shows_more(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", "echo " + "x" * 300)
    screen = queuectl.on_terminal("list", columns=132)
    assert max(map(len, screen.out.decode().splitlines())) == 132
    screen = queuectl.on_terminal("list", columns=132, COLUMNS="100")
    assert max(map(len, screen.out.decode().splitlines())) == 100
    assert max(map(len, queuectl.ok("list").splitlines())) > 300
