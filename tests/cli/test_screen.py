"""--watch: the screen after each change, and the state of the terminal afterwards."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from queued.ctl.change_watch import Watch
from tests.cli.queuectl_runner import QueuectlRunner, failed
from tests.terminal import Terminal, on_terminal, resize

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME = "\x1b[H"


@contextmanager
def _watching(queuectl: QueuectlRunner, *words: str) -> Iterator[Terminal]:
    with on_terminal(queuectl.line(*words, "--watch"), queuectl.env()) as terminal:
        terminal.sees(ENTER)
        yield terminal


def test_a_list_follows_the_queue(queuectl: QueuectlRunner) -> None:
    queuectl.add("first")
    with _watching(queuectl, "list") as terminal:
        terminal.sees("first          pending ")
        queuectl.add("second")
        terminal.sees("second         pending ")
        queuectl.ok("cancel", "first", "second")
        terminal.sees("second         \x1b[90mcancelled\x1b[m ")


def test_a_status_shows_the_rate(queuectl: QueuectlRunner) -> None:
    queuectl.run("a")
    with _watching(queuectl, "status") as terminal:
        terminal.sees("1 in the last minute")
        queuectl.run("b")
        terminal.sees("2 in the last minute")


def test_the_dead_and_the_services_are_watched(queuectl: QueuectlRunner) -> None:
    queuectl.add("a", max_retries=1)
    with (
        _watching(queuectl, "dlq", "list") as dead,
        _watching(queuectl, "worker", "list") as workers,
    ):
        dead.sees("no jobs")
        workers.sees("no service runs")
        queuectl.end(queuectl.claim(), failed(1))
        dead.sees("a ")
        lock = queuectl.register("i")
        workers.sees("i: pid 4711")
        os.close(lock)  # a service that is killed writes nothing to the database
        workers.sees("no service runs")


def test_the_end_of_a_service_is_a_change(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    lock = queuectl.register("i")
    with closing(queuectl.engine.open_store(10)) as store, closing(Watch(store)) as changes:
        assert not changes.wait(0)
        os.close(lock)
        assert changes.wait(60)


def test_a_screen_shows_what_fits_and_follows_the_size_of_the_window(
    queuectl: QueuectlRunner,
) -> None:
    queuectl.add("a", "echo " + "x" * 300)
    with _watching(queuectl, "status") as terminal:
        terminal.sees("oldest ready")
        resize(terminal.descriptor, 3, 80)
        terminal.sees(HOME)
        terminal.sees("  failed            0  wait for a retry\x1b[K\x1b[J")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_left_as_it_was(queuectl: QueuectlRunner, number: int) -> None:
    queuectl.add("a")
    with _watching(queuectl, "list") as terminal:
        terminal.sees("pending")
        terminal.process.send_signal(number)
        terminal.sees(LEAVE)
        assert terminal.process.wait(10) == 128 + number


def test_a_suspended_command_gives_the_terminal_back_meanwhile(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    with _watching(queuectl, "list") as terminal:
        terminal.sees("pending")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.sees(LEAVE)
        os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.sees(ENTER + HOME)
        terminal.sees("pending")


def test_a_closed_terminal_ends_the_command(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    with _watching(queuectl, "list") as terminal:
        terminal.sees("pending")
        os.close(terminal.descriptor)
        assert terminal.process.wait(10) == 128 + signal.SIGHUP


def test_without_a_terminal_it_is_refused(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    done = queuectl("list", "--watch")
    told = "--watch needs a terminal; leave it out to print the result once"
    assert done == (2, "", f"queuectl: {told}\n")


def test_jobs_are_printed_in_a_pipe_as_they_change(queuectl: QueuectlRunner) -> None:
    queuectl.run("old")
    queuectl.add("a", max_retries=1)
    watching = queuectl.start("list", "--watch", "-o", "jsonl", "--state", "pending,dead")

    def printed() -> tuple[str, str]:
        assert watching.stdout is not None
        job = json.loads(watching.stdout.readline())
        return job["id"], job["state"]

    assert printed() == ("a", "pending")
    claim = queuectl.claim()
    queuectl.add("b")
    assert printed() == ("b", "pending")
    queuectl.end(claim, failed(1))
    assert printed() == ("a", "dead")
    queuectl.ok("dlq", "retry", "a")
    assert printed() == ("a", "pending")


def test_a_stream_of_changes_has_no_order(queuectl: QueuectlRunner) -> None:
    queuectl.add("a")
    done = queuectl("list", "--watch", "-o", "jsonl", "--sort", "due")
    told = "--watch prints jobs as they change; give it without --sort"
    assert done == (2, "", f"queuectl: {told}\n")
