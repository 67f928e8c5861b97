"""hold and release, and `enqueue --hold`."""

import pytest

from tests.cli.queuectl_runner import QueuectlRunner


def test_hold_and_release(queuectl: QueuectlRunner) -> None:
    assert queuectl("enqueue", "--id", "a", "--hold", "true").code == 0
    queuectl.add("b", delay=60)
    assert queuectl.ok("hold", "b", "b") == "b held\n"
    assert "  held              2  wait until they are released\n" in queuectl.ok("status")
    assert queuectl.ok("list", "--state", "held", "--quiet") == "a\nb\n"
    assert queuectl.ok("list", "--state", "pending", "--quiet") == "a\nb\n"
    assert queuectl.json("release", "a", "b") == {"a": "pending", "b": "scheduled"}
    assert queuectl.json("status")["held"] == 0


def test_run_now(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", delay=60)
    queuectl.add("b", hold=True)
    done = queuectl("run-now", "a", "b")
    assert done == (4, "a pending\n", "queuectl: b is held and cannot run now\n")
    queuectl.add("blocked", after=["b"])
    told = "queuectl: blocked is blocked (waits for b to complete) and cannot run now\n"
    assert queuectl("run-now", "blocked") == (4, "", told)
    for name in "cd":
        queuectl.add(name, delay=60)
    refused = queuectl("run-now", "--all")
    assert refused.code == 2
    assert "2 jobs (2 scheduled) match; to start them, add --yes" in refused.err
    assert queuectl.ok("run-now", "--all", "--yes") == "2 jobs due\n"
    assert queuectl.json("status")["scheduled"] == 0


@pytest.mark.parametrize("verb", ["hold", "release"])
def test_a_job_that_runs_is_refused(queuectl: QueuectlRunner, verb: str) -> None:
    queuectl.add("a")
    queuectl.claim()
    queuectl.add("b", hold=True)
    done = queuectl(verb, "a", "b")
    refusal = "cannot be held" if verb == "hold" else "is not held"
    moved = "held" if verb == "hold" else "pending"
    assert done == (4, f"b {moved}\n", f"queuectl: a is processing and {refusal}\n")


def test_hold_and_release_what_matches(queuectl: QueuectlRunner) -> None:
    for name in "abc":
        queuectl.add(name, queue="other" if name == "c" else "q")
    told = (
        "queuectl: 2 jobs (2 pending) match; to hold them, add --yes (--dry-run prints their ids)\n"
    )
    assert queuectl("hold", "--queue", "q") == (2, "", told)
    assert queuectl.ok("hold", "--queue", "q", "--yes") == "2 jobs held\n"
    assert queuectl.ids("--state", "held") == ["a", "b"]
    assert queuectl("release", "--all", "--dry-run").out == "a\nb\n"
    assert queuectl.json("release", "--all", "--yes") == {"released": ["a", "b"]}
    assert queuectl("release", "--state", "dead").err == (
        "queuectl: --state takes held, not 'dead'\n"
    )
    assert queuectl("hold").code == queuectl("release", "--all", "c").code == 2
