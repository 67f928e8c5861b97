"""enqueue: JSON, words and standard input, accepted and refused."""

import json
import os
import subprocess

import pytest

from tests.cli.queuectl_runner import QueuectlRunner
from tests.service import eventually


def test_json_and_its_id(queuectl: QueuectlRunner) -> None:
    out = queuectl.ok("enqueue", '{"id":"job1","command":"sleep 2","max_retries":3}')
    assert out == "job1\n"
    job = queuectl.json("show", "job1")
    assert (job["command"], job["max_retries"], job["state"]) == ("sleep 2", 3, "pending")


def test_an_id_is_made(queuectl: QueuectlRunner) -> None:
    first, second = (queuectl.ok("enqueue", '{"command":"true"}').strip() for _ in range(2))
    assert len(first) == len(second) == 13
    assert [job["id"] for job in queuectl.json("list")] == [first, second]


def test_json_results(queuectl: QueuectlRunner) -> None:
    assert queuectl.json("enqueue", '{"id":"a","command":"true"}') == {"id": "a"}
    lines = '{"id":"b","command":"true"}\n{"id":"c","command":"true"}\n'
    assert queuectl.json("enqueue", "-", stdin=lines) == {"ids": ["b", "c"]}


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--", "sleep 2 | cat"], "sleep 2 | cat"),
        (["--", "echo", "a b", "$X", "*", "it's"], "echo 'a b' '$X' '*' 'it'\"'\"'s'"),
        (["--", "printf", "%s", ""], "printf %s ''"),
        (["--", "a", "--", "--help"], "a -- --help"),
        (["--", "line\nbreak 'q' ü"], "line\nbreak 'q' ü"),
        (["--", "{ date; }"], "{ date; }"),
        (["sleep", "2"], "sleep 2"),
        (["ls", "-l", "--color"], "ls -l --color"),
        (["env", "--", "-h"], "env -- -h"),
        (["-q", "x", "-p", "-3", "[", "1", "]"], "'[' 1 ']'"),
        (["[1]"], "[1]"),
        (["2"], "2"),
    ],
)
def test_words_are_the_command(queuectl: QueuectlRunner, words: list[str], command: str) -> None:
    name = queuectl.ok("enqueue", *words).strip()
    assert queuectl.json("show", name)["command"] == command


def test_options_may_come_after_json(queuectl: QueuectlRunner) -> None:
    assert queuectl.json("enqueue", '\n {"id":"a","command":"true"}') == {"id": "a"}
    assert queuectl("enqueue", '{"command":"true"}', "--help").out.startswith("Usage:")
    assert len(queuectl.json("list")) == 1


def test_every_option(queuectl: QueuectlRunner) -> None:
    name = queuectl.ok(
        *("enqueue", "--id", "full", "--queue", "q", "--priority", "-5", "--max-retries=7"),
        *("--run-at", "2999-01-01T00:00:00Z", "--timeout", "1.5m", "--kill-grace", "500ms"),
        *("--backoff-base", "1.5", "--backoff-max", "1h", "--backoff-jitter", "0.1"),
        *("--no-retry-on", "2,64", "--cancel-on", "3", "--defer-on", "75", "--defer-delay", "5m"),
        *("--leave-children", "--split"),
        *("--output-limit", "1000", "--env", "A=1=2", "--env", "FROM_HERE", "--umask", "077"),
        *("--on-dead", "mail me", "--on-completed", ""),
        *("--cwd", "sub", "--nice", "5", "--limit", "memory=64M", "--limit", "files=99"),
        *("--", "true"),
        FROM_HERE="yes",
    ).strip()
    job = queuectl.json("show", name)
    assert (job["id"], job["queue"], job["priority"], job["max_retries"]) == ("full", "q", -5, 7)
    assert (job["next_run_at"], job["state"]) == ("2999-01-01T00:00:00.000Z", "scheduled")
    assert job["options"] == {
        "backoff_base": 1.5,
        "backoff_jitter": 0.1,
        "backoff_max": 3600.0,
        "cancel_on": [3],
        "cwd": str(queuectl.directory / "sub"),
        "defer_delay": 300.0,
        "defer_on": [75],
        "env": {"A": "1=2", "FROM_HERE": "yes"},
        "kill_grace": 0.5,
        "leave_children": True,
        "limits": {"files": 99, "memory": 64 << 20},
        "nice": 5,
        "no_retry_on": [2, 64],
        "on_completed": "",
        "on_dead": "mail me",
        "output_limit": 1000,
        "split": True,
        "timeout": 90.0,
        "umask": "077",
    }


def test_a_list_is_resumed_by_skipping_the_ids_that_exist(queuectl: QueuectlRunner) -> None:
    lines = [f'{{"id":"{name}","command":"true"}}\n' for name in "abc"]
    queuectl.ok("enqueue", "-", stdin=lines[0] + lines[1])
    refused = queuectl("enqueue", "-", stdin="".join(lines))
    assert refused.code == 4
    assert "line 1: a job with the id 'a' exists already" in refused.err
    assert "--skip-existing; nothing was added\n" in refused.err
    assert len(queuectl.json("list")) == 2
    done = queuectl("enqueue", "--skip-existing", "-", stdin="".join(lines) + '{"command":"d"}')
    assert done.out.startswith("c\n")
    assert "2 jobs added, 2 skipped: their ids exist\n" in done.err
    again = queuectl("enqueue", "--skip-existing", "--json", "-", stdin=lines[2])
    assert (again.code, json.loads(again.out)) == (0, {"ids": [], "skipped": 1})
    assert queuectl("enqueue", "--skip-existing", "true").code == 2


def test_an_added_job_is_named_even_if_standard_output_is_full(queuectl: QueuectlRunner) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        words = ("enqueue", "--id", "a", "true")
        done = queuectl.start(*words, stdout=full, stderr=subprocess.PIPE)
        err = done.communicate()[1].decode()
    assert done.returncode == 74
    told = "queuectl: the job a was added, but standard output cannot be written: No space left"
    assert err.startswith(told)
    assert queuectl.json("show", "a")["state"] == "pending"


def test_a_time_that_is_past_delays_nothing_and_is_said(queuectl: QueuectlRunner) -> None:
    done = queuectl("enqueue", "--run-at", "2026-01-01 03:00 UTC", "true")
    assert "run_at is in the past (2026-01-01T03:00:00.000Z); nothing is delayed\n" in done.err
    assert done.code == 0
    lines = '{"command":"true","run_at":0}\n{"command":"true"}\n{"command":"true","run_at":1}\n'
    assert "run_at of 2 jobs is in the past" in queuectl("enqueue", "-", stdin=lines).err


def test_delay_and_here(queuectl: QueuectlRunner) -> None:
    before = os.umask(0o027)
    try:
        queuectl.ok("enqueue", "--id", "a", "--delay", "2h", "--here", "--", "true")
    finally:
        os.umask(before)
    job = queuectl.json("show", "a")
    assert job["options"] == {"cwd": str(queuectl.directory), "umask": "027"}
    assert job["state"] == "scheduled"


def test_a_due_job_is_pending_without_a_service(queuectl: QueuectlRunner) -> None:
    queuectl.ok("enqueue", "--id", "soon", "--delay", "1ms", "--", "true")
    queuectl.ok("enqueue", "--id", "late", "--delay", "2h", "--", "true")
    eventually(lambda: queuectl.json("status")["scheduled"] == 1)
    assert queuectl.json("show", "soon")["state"] == "pending"
    assert [job["state"] for job in queuectl.json("list")] == ["pending", "scheduled"]
    assert [job["id"] for job in queuectl.json("list", "--state", "scheduled")] == ["late"]
    assert queuectl.ok("list", "--state", "scheduled").count("late") == 1


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("4000000000", "2096-10-02T07:06:40.000Z"),
        ("4000000000.5", "2096-10-02T07:06:40.500Z"),
        ("20300131", "2030-01-31T00:00:00.000Z"),
    ],
)
def test_a_time_is_a_date_or_seconds_since_1970(
    queuectl: QueuectlRunner, text: str, moment: str
) -> None:
    queuectl.ok("enqueue", "--id", "a", "--run-at", text, "--", "true", TZ="UTC")
    assert queuectl.json("show", "a")["next_run_at"] == moment


def test_default_max_retries_is_fixed_when_it_is_enqueued(queuectl: QueuectlRunner) -> None:
    queuectl.ok("config", "set", "max-retries", "9")
    queuectl.ok("enqueue", "--id", "a", "--", "true")
    queuectl.ok("config", "set", "max-retries", "4")
    assert queuectl.json("show", "a")["max_retries"] == 9


BAD = {
    '{"command":': "broken JSON at line 1, column 12: Expecting value",
    '{"command": "a"\n "x": 1}': "broken JSON at line 2, column 2: Expecting ',' delimiter",
    "": "the command is empty",
    "{ sleep 1; }": "broken JSON at line 1, column 3: Expecting property name enclosed in double",
    '[{"command":"a"}]': 'a job is a JSON object such as {"command": "sleep 2"}, not an array',
    "{}": 'a job needs a command: {"command": "sleep 2"}',
    '{"command": ""}': "the command is empty",
    '{"command":"a","command":"b"}': "'command' is given twice in the JSON",
    '{"command":"a","env":{"X":"1","X":"2"}}': "'X' is given twice in the JSON",
    '{"command":"a","priority":NaN}': "NaN is not JSON",
    '{"command":"a","timeout":Infinity}': "Infinity is not JSON",
    '{"command":"a","state":"dead"}': "'state' cannot be set",
    '{"command":"a","prioriti":1}': "unknown field 'prioriti'; did you mean 'priority'?",
    '{"command":"a","id":"a/b"}': "id takes 1 to 64 printable characters without spaces or",
    '{"command":"a","priority":' + "9" * 5000 + "}": "broken JSON: Exceeds the limit",
    '{"a":' + "[" * 100_000: "broken JSON: nested too deeply",
}


@pytest.mark.parametrize("payload", BAD, ids=lambda text: text[:40])
def test_bad_json_is_one_line_and_changes_nothing(queuectl: QueuectlRunner, payload: str) -> None:
    queuectl.add("before")
    kept = queuectl.dump()
    done = queuectl("enqueue", payload)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"queuectl: {BAD[payload]}")
    assert done.err.count("\n") == 1
    assert queuectl.dump() == kept


def test_bad_json_makes_no_database(queuectl: QueuectlRunner) -> None:
    assert queuectl("enqueue", "{").code == 2
    assert queuectl.dump() is None


def test_a_duplicate_id_is_a_conflict(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    kept = queuectl.dump()
    done = queuectl("enqueue", '{"id":"a","command":"false"}')
    assert done == (4, "", "queuectl: a job with the id 'a' exists already; choose another\n")
    assert queuectl.dump() == kept


BAD_WORDS = {
    ("--priority", "x", "--", "a"): "priority takes a whole number from -1000000 to 1000000, not",
    ("--defer-on", "1,x", "--", "a"): "defer_on takes a list of exit codes from 1 to 255, not",
    ("--env", "NOT_SET_HERE", "--", "a"): "--env 'NOT_SET_HERE': there is no such variable here",
    ("--env", "=x", "--", "a"): "env takes names without '=' or NUL",
    ("--limit", "files", "--", "a"): "--limit takes NAME=VALUE, not 'files'",
    ("--limit", "file=1", "--", "a"): "limits: unknown limit 'file'; did you mean 'files'?",
    ("--run-at", "12", "--", "a"): "run_at: not a time: '12'",
    ("--", ""): "the command is empty",
    ("--id", "a", '{"command":"x"}'): "--id cannot be combined with JSON: use the field",
    ("--wait", "-"): "--wait takes one job, and - may read many",
    ("--queue", "a", "--queue", "b", "--", "x"): "--queue is given twice",
    ("--queeu", "a", "--", "x"): "unknown option --queeu; did you mean '--queue'?",
    (): "COMMAND is missing",
    ("--queue", "a"): "COMMAND is missing",
    ("--",): "COMMAND is missing",
    ('{"command":"x"}', "b"): "unexpected argument 'b' after the JSON",
    ("-", "b"): "unexpected argument 'b' after -",
    (
        "df",
        "-h",
    ): "-h may be an option of queuectl or of the command; for the command, put -- before "
    "it:  queuectl enqueue -- df -h\n",
    ("-p", "3", "grep", "-q", "a b"): "-q may be an option of queuectl or of the command; for the "
    "command, put -- before it:  queuectl enqueue -p 3 -- grep -q 'a b'\n",
    ("sleep", "2", "--queue=x"): "--queue may be an option of queuectl or of the command",
    ("--id",): "--id needs a value",
}


@pytest.mark.parametrize("words", BAD_WORDS, ids=" ".join)
def test_bad_words(queuectl: QueuectlRunner, words: tuple[str, ...]) -> None:
    done = queuectl("enqueue", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"queuectl: {BAD_WORDS[words]}")
    assert queuectl.dump() is None


def test_standard_input(queuectl: QueuectlRunner) -> None:
    lines = b'{"id":"a","command":"echo \xc3\xbc"}\n\n  \n{"id":"b","command":"true"}'
    assert queuectl.ok("enqueue", "-", stdin=lines) == "a\nb\n"
    assert [job["id"] for job in queuectl.json("list")] == ["a", "b"]


def test_a_byte_order_mark_may_come_first(queuectl: QueuectlRunner) -> None:
    lines = b'\xef\xbb\xbf{"id":"a","command":"true"}\n{"id":"b","command":"true"}\n'
    assert queuectl.ok("enqueue", "-", stdin=lines) == "a\nb\n"


def test_a_line_without_an_end_is_not_read_to_its_end(queuectl: QueuectlRunner) -> None:
    lines = b'{"command":"a"}\n{"command":"b"' + b" " * 5 * 1024**2 + b"}\n"
    done = queuectl("enqueue", "-", stdin=lines)
    assert done == (2, "", "queuectl: line 2: more than 4 MiB; give one job in JSON on each line\n")


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        (
            '{"command":"a"}\n\n{"command":}\n',
            2,
            "line 3: broken JSON at column 12: Expecting value",
        ),
        ('{"command":"a"}\n{"comand":"b"}\n', 2, "line 2: unknown field 'comand'; did you mean"),
        ('{"command":"a"}\nsleep 2\n', 2, "line 2: 'sleep 2' is not a JSON object"),
        (b'{"command":"a"}\n\xef\xbb\xbf{"command":"b"}\n', 2, "line 2: "),
        (b'{"command":"a"}\n{"command":"\xff"}\n', 2, "line 2: not UTF-8 at byte 13"),
        (
            '{"id":"x","command":"a"}\n\n{"id":"x","command":"b"}\n',
            4,
            "line 3: a job with the id 'x'",
        ),
        ('{"command":"a"}\n{"id":"before","command":"b"}\n', 4, "line 2: a job with the id"),
    ],
)
def test_standard_input_is_all_or_nothing(
    queuectl: QueuectlRunner, lines: str | bytes, code: int, message: str
) -> None:
    queuectl.add("before")
    kept = queuectl.dump()
    done = queuectl("enqueue", "-", stdin=lines)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"queuectl: {message}")
    assert done.err.count("\n") == 1
    assert queuectl.dump() == kept


def test_empty_standard_input(queuectl: QueuectlRunner) -> None:
    assert queuectl("enqueue", "-") == (0, "", "queuectl: standard input contains no job\n")


def test_stdin_may_be_closed(queuectl: QueuectlRunner) -> None:
    line = queuectl.line("enqueue", "-")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *line],
        env=queuectl.env(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0


def test_a_dry_run_checks_jobs_and_adds_none(queuectl: QueuectlRunner) -> None:
    told = "1 job would be added; nothing was changed\n"
    assert queuectl("enqueue", "--dry-run", "echo", "a b") == (0, "echo 'a b'\n", told)
    assert queuectl("enqueue", "--dry-run", '{"command": "true"}') == (0, "true\n", told)
    lines = '{"command": "one"}\n{"command": "two", "array": "1-2"}\n'
    done = queuectl("enqueue", "--dry-run", "--json", "-", stdin=lines)
    assert json.loads(done.out) == {"dry_run": True, "commands": ["one", "two", "two"]}
    refused = queuectl("enqueue", "--dry-run", "--timeout", "soon", "true")
    assert (refused.code, refused.out) == (2, "")
    assert not queuectl.database.exists()


def test_the_queue_of_the_environment(queuectl: QueuectlRunner) -> None:
    queuectl.ok("enqueue", "true", QUEUECTL_QUEUE="mail")
    queuectl.ok("enqueue", "--queue", "other", "true", QUEUECTL_QUEUE="mail")
    assert [job["queue"] for job in queuectl.json("list")] == ["mail", "other"]
