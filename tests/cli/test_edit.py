"""edit, rerun and signal: what is printed, and what is refused."""

import pytest

from tests.cli.queuectl_runner import QueuectlRunner

pytestmark = pytest.mark.both_engines


def test_edit_changes_jobs_that_wait(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", env={"A": "1"})
    queuectl.add("b", run_at="tomorrow 9am")
    options = ("--command", "echo x", "-p", "3", "--env", "B=2", "--label", "l=v", "--note", "n")
    assert queuectl.ok("edit", *options, "a", "b") == "a pending\nb scheduled\n"
    job = queuectl.json("show", "a")
    assert (job["command"], job["priority"], job["labels"]) == ("echo x", 3, {"l": "v"})
    assert job["options"] == {"env": {"A": "1", "B": "2"}, "note": "n"}
    assert queuectl.json("edit", "--delay", "1h", "a") == {"a": "scheduled"}


def test_edit_refuses_what_does_not_wait(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    queuectl.claim()
    assert queuectl("edit", "-p", "3", "a") == (
        4,
        "",
        "queuectl: a is processing and cannot be edited\n",
    )
    assert queuectl("edit", "a").code == 2, "nothing to change"
    assert queuectl("edit", "--timeout", "x", "a").code == 2
    assert queuectl("edit", "-p", "3", "nope").code == 3
    assert queuectl("edit", "--run-at", "03:00", "--delay", "1h", "a").code == 2


def test_rerun_adds_a_job_like_an_ended_one(queuectl: QueuectlRunner) -> None:
    fields = {"queue": "q", "priority": 2, "labels": {"l": "v"}, "unique_key": "k", "stdin": "in"}
    queuectl.add("a", "exit 0", **fields, expires_in=3600, deadline="tomorrow 9am", nice=1)
    assert queuectl("rerun", "a") == (4, "", "queuectl: a is pending, it has not ended\n")
    queuectl.ok("cancel", "a")
    name = queuectl.ok("rerun", "a").strip()
    old, new = queuectl.json("show", "a"), queuectl.json("show", name)
    assert old["state"] == "cancelled"
    assert new["options"] == {"nice": 1, "rerun_of": "a", "stdin_bytes": 2}
    assert "expires_at" not in new
    same = ("command", "queue", "priority", "labels", "max_retries", "unique_key", "unique_while")
    assert {field: new[field] for field in same} == {field: old[field] for field in same}
    told = f"queuectl: the job {name} has the unique key 'k'\n"
    assert queuectl("rerun", "a") == (4, "", told)


def test_signal_needs_a_running_job(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    assert queuectl("signal", "a", "USR1") == (4, "", "queuectl: a is pending, not processing\n")
    queuectl.claim()
    assert queuectl.ok("signal", "a", "sigusr1") == "a: SIGUSR1 requested\n"
    assert queuectl.json("signal", "a", "HUP") == {"id": "a", "signal": "HUP"}
    told = 'queuectl: SIGNAL takes a signal such as USR1, not "NONE"\n'
    assert queuectl("signal", "a", "NONE") == (2, "", told)
