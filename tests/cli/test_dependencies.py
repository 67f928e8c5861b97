"""enqueue --after, --after-any and --after-fail, and how such jobs are shown."""

import pytest

from tests.cli.queuectl_runner import QueuectlRunner


def test_a_job_says_what_it_waits_for(queuectl: QueuectlRunner) -> None:
    for name in ("a", "b", "c", "d"):
        queuectl.add(name)
    options = ("--after", "a", "--after", "b", "--after-any", "c", "--after-fail", "@last")
    assert queuectl("enqueue", "--id", "last", *options, "true")[:2] == (0, "last\n")
    waits = "waits for a to complete, b to complete, c to end, ..."
    assert queuectl.json("list", "--state", "blocked")[0]["blocked"] == waits
    assert f"blocked ({waits})" in queuectl.ok("show", "last")
    assert "after         a (pending), b (pending)" in queuectl.ok("show", "last")
    conditions = [
        (one["condition"], one["job"], one["state"], one["status"])
        for one in queuectl.json("show", "last")["dependencies"]
    ]
    assert conditions[-1] == ("after_fail", "d", "pending", "waiting")
    assert "  blocked           1  wait for other jobs or their key\n" in queuectl.ok("status")


def test_the_outcome_of_a_job_that_cannot_start(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    queuectl.ok("cancel", "a")
    queuectl.add("b", after=["a"])
    job = queuectl.json("list", "--state", "cancelled")[1]
    assert (job["outcome"], job["last_error"]) == ("dependency", "dependency: a is cancelled")
    assert queuectl.ok("list", "-o", "id,outcome").endswith("b              dependency\n")
    assert queuectl.ok("list", "--outcome", "dependency", "--quiet") == "b\n"
    assert "dependency: a is cancelled" in queuectl.ok("list", "-a")


@pytest.mark.parametrize(
    ("lines", "code", "told"),
    [
        (
            '{"command": "true", "after": "a"}',
            2,
            'line 1: after takes a list of ids of jobs, not "a"',
        ),
        ('{"command": "true", "id": "a", "after": ["b"]}', 3, "no job 'b', for which a is to wait"),
        (
            (
                '{"command": "true", "id": "a", "after": ["b"]}\n'
                '{"command": "true", "id": "b", "after_any": ["a"]}'
            ),
            2,
            "jobs wait for each other: a for b for a",
        ),
    ],
)
def test_bad_conditions_are_refused(
    queuectl: QueuectlRunner, lines: str, code: int, told: str
) -> None:
    queuectl.add("other")
    done = queuectl("enqueue", "-", stdin=lines)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert [job["id"] for job in queuectl.json("list")] == ["other"]
