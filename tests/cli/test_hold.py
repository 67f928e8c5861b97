"""hold and release, and `enqueue --hold`."""

import pytest

from tests.cli.queuectl_runner import QueuectlRunner


def test_hold_and_release(queuectl: QueuectlRunner) -> None:
    queuectl.ok("enqueue", "--id", "a", "--hold", "true")
    queuectl.ok("enqueue", '{"id": "b", "command": "true", "delay": 60}')
    assert queuectl.ok("hold", "b", "b") == "b held\n"
    assert "  held              2  wait until they are released\n" in queuectl.ok("status")
    assert queuectl.ok("list", "--state", "held", "-q") == "a\nb\n"
    assert queuectl.ok("list", "--state", "pending", "-q") == "a\nb\n"
    assert queuectl.json("release", "a", "b") == {"a": "pending", "b": "scheduled"}
    assert queuectl.json("status")["held"] == 0


@pytest.mark.parametrize("verb", ["hold", "release"])
def test_a_job_that_runs_is_refused(queuectl: QueuectlRunner, verb: str) -> None:
    queuectl.add("a")
    queuectl.claim()
    queuectl.ok("enqueue", "--id", "b", "--hold", "true")
    done = queuectl(verb, "a", "b")
    refusal = "cannot be held" if verb == "hold" else "is not held"
    moved = "held" if verb == "hold" else "pending"
    assert done == (4, f"b {moved}\n", f"queuectl: a is processing and {refusal}\n")
