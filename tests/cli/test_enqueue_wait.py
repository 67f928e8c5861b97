"""enqueue --wait: its output, its exit codes, and Ctrl+C."""

import signal

import pytest

from queued.core.model import Outcome
from queued.core.runs import Ending
from tests.cli.queuectl_runner import QueuectlRunner, failed
from tests.service import eventually

pytestmark = pytest.mark.both_engines


def test_wait_shows_the_output_and_ends_as_the_job(queuectl: QueuectlRunner) -> None:
    queuectl.add("made-first")
    queuectl.ok("cancel", "made-first")
    process = queuectl.start("enqueue", "--wait", "--split", "--id", "w", "--", "make")
    eventually(lambda: queuectl.is_waiting(process))
    claim = queuectl.claim()
    queuectl.prints(claim, b"one\n")
    queuectl.prints(claim, b"oops\n", stream=2)
    queuectl.end(claim, failed(1), backoff=1.0)
    eventually(lambda: queuectl.json("show", "w")["state"] == "failed")
    queuectl.ok("cancel", "w")
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (1, b"one\n")
    assert err == b"w\noops\nqueuectl: w cancelled\n"


def test_interrupt_cancels_a_pending_job(queuectl: QueuectlRunner) -> None:
    process = queuectl.start("enqueue", "--wait", "--id", "w", "--", "make")
    eventually(lambda: queuectl.is_waiting(process))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"w\nqueuectl: w cancelled\n")
    assert queuectl.json("show", "w")["state"] == "cancelled"


def test_interrupt_cancels_a_running_job(queuectl: QueuectlRunner) -> None:
    process = queuectl.start("enqueue", "--wait", "--id", "w", "--", "make")
    eventually(lambda: queuectl.is_waiting(process))
    claim = queuectl.claim()
    process.send_signal(signal.SIGINT)
    eventually(lambda: queuectl.json("show", "w")["cancel_requested_at"] is not None)
    queuectl.end(claim, failed(1))
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == b"w\nqueuectl: w: cancel requested; it is still running\nqueuectl: w cancelled\n"


ENDINGS = {
    "exit": (failed(3, b"bad"), 3, b""),
    "signal": (
        Ending(Outcome.SIGNAL, signal="SIGKILL"),
        137,
        b"queuectl: w dead: signal SIGKILL\n",
    ),
    "spawn error": (
        *(Ending(Outcome.SPAWN_ERROR, error="/gone: no such directory"), 1),
        b"queuectl: w dead: spawn-error: /gone: no such directory\n",
    ),
    "completed": (Ending(Outcome.EXIT, exit_code=0), 0, b""),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_wait_prints_the_reason_if_the_command_could_not(
    queuectl: QueuectlRunner, name: str
) -> None:
    ending, code, told = ENDINGS[name]
    process = queuectl.start("enqueue", "--wait", "--id", "w", "--max-retries", "1", "--", "make")
    eventually(lambda: queuectl.is_waiting(process))
    queuectl.end(queuectl.claim(), ending)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (code, b"", b"w\n" + told)
