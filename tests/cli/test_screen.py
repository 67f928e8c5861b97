"""--watch: the screen after each change, and the state of the terminal afterwards."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from queued.ctl.change_watch import Watch
from tests.cli.queuectl_runner import QueuectlRunner, failed

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME = "\x1b[H"


class Terminal:
    """A terminal and the command that runs on it."""

    def __init__(self, descriptor: int, process: "subprocess.Popen[bytes]") -> None:
        self.descriptor = descriptor
        self.process = process
        self.seen = ""

    def sees(self, text: str) -> None:
        """Reads until the command has written the text since the last call."""
        deadline = time.monotonic() + 10
        while text not in self.seen:
            left_s = deadline - time.monotonic()
            assert select.select([self.descriptor], [], [], max(0, left_s))[0], self.seen
            self.seen += os.read(self.descriptor, 65536).decode()
        self.seen = self.seen.partition(text)[2]


def _resize(descriptor: int, lines: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def _watching(queuectl: QueuectlRunner, *words: str) -> Iterator[Terminal]:
    """Starts a command with --watch as the foreground process of a terminal of its own."""
    ours, theirs = os.openpty()
    _resize(theirs, 24, 80)
    line = ["setsid", "--ctty", *queuectl.line(*words, "--watch")]
    process = subprocess.Popen(line, env=queuectl.env(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        terminal = Terminal(ours, process)
        terminal.sees(ENTER)
        yield terminal
    finally:
        process.kill()
        process.wait()
        with suppress(OSError):
            os.close(ours)


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
        _resize(terminal.descriptor, 3, 80)
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
