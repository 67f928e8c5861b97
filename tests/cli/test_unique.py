"""enqueue of jobs with a unique key: what is printed if another job has it."""

import json
import re

import pytest

from tests.cli.queuectl_runner import QueuectlRunner

pytestmark = pytest.mark.both_engines
KEY = ("enqueue", "--unique-key", "k")


def test_a_taken_key_gives_the_id_of_the_job_that_has_it(queuectl: QueuectlRunner) -> None:
    out = queuectl.ok(*KEY, "--json", "--id", "a", "true")
    assert json.loads(out) == {"id": "a", "existing": False}
    done = queuectl(*KEY, "true")
    assert done[:2] == (0, "a\n")
    assert done.err.startswith("queuectl: not added: the job a has the unique key\n")
    assert queuectl.ids() == ["a"]
    assert re.search(r"unique key +k \(while active\)\n", queuectl.ok("show", "a"))
    assert queuectl.ok("list", "-o", "unique_key").split() == ["UNIQUE", "KEY", "k"]


def test_a_taken_key_of_one_of_many_lines(queuectl: QueuectlRunner) -> None:
    lines = [json.dumps({"id": n, "command": "true", "unique_key": n[0]}) for n in ("a", "a2", "b")]
    done = queuectl("enqueue", "--json", "-", stdin="\n".join(lines))
    assert (done.code, json.loads(done.out)) == (0, {"ids": ["a", "a", "b"], "existing": ["a"]})
    assert "1 job not added: their keys are in use\n" in done.err
    refused = queuectl("enqueue", "--fail-if-exists", "-", stdin="\n".join(lines[1:]))
    told = "queuectl: line 1: the job a has the unique key 'a'; nothing was added\n"
    assert refused == (4, "", told)
    assert queuectl.ids() == ["a", "b"]


def test_a_waiting_job_is_replaced(queuectl: QueuectlRunner) -> None:
    queuectl.ok(*KEY, "--id", "a", "--unique-while", "any", "--unique-for", "1h", "true")
    assert queuectl.json("show", "a")["unique_until"] is not None
    assert queuectl(*KEY, "--fail-if-exists", "true").code == 4
    assert queuectl.ok(*KEY, "--replace", "--id", "b", "true") == "b\n"
    assert queuectl.json("show", "a")["last_error"] == "replaced by b"
    assert re.search(r"unique key +k \(given up\)\n", queuectl.ok("show", "a"))
    assert queuectl.ok("dlq", "retry", "a") == "a pending\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--unique-while", "any"], "unique_while needs a unique_key"),
        (["--unique-for", "1h"], "unique_for needs a unique_key"),
        (
            ["--unique-key", "k", "--unique-while", "x"],
            'unique_while takes waiting, active or any, not "x"',
        ),
        (["--unique-key", ""], 'unique_key takes 1 to 200 printable characters, not ""'),
        (["--replace", "--fail-if-exists"], "--fail-if-exists and --replace exclude each other"),
        (["--replace"], "--replace needs --unique-key, or unique_key in the JSON"),
        (["--fail-if-exists"], "--fail-if-exists needs --unique-key, or unique_key in the JSON"),
    ],
)
def test_options_that_make_no_sense(queuectl: QueuectlRunner, words: list[str], told: str) -> None:
    assert queuectl("enqueue", *words, "true") == (2, "", f"queuectl: {told}\n")


def test_lines_need_no_unique_key_to_replace_jobs(queuectl: QueuectlRunner) -> None:
    line = '{"id": "a", "command": "true"}'
    assert queuectl("enqueue", "--replace", "-", stdin=line).out == "a\n"
    assert queuectl("enqueue", "--replace", line).code == 2


def test_of_twenty_programs_at_once_one_adds_its_job(queuectl: QueuectlRunner) -> None:
    running = [queuectl.start(*KEY, "--json", "true") for _ in range(20)]
    records = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert sorted(record["existing"] for record in records) == [False] + [True] * 19
    assert {record["id"] for record in records} == {*queuectl.ids()}
    assert len(queuectl.ids()) == 1
