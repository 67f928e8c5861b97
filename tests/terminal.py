"""A command on a terminal of its own."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from tests.service import PATIENCE_S


class Terminal:
    """A terminal and the command that runs on it."""

    def __init__(self, descriptor: int, process: "subprocess.Popen[bytes]") -> None:
        self.descriptor = descriptor
        self.process = process
        self.seen = ""

    def sees(self, text: str) -> None:
        """Reads until the command has written the text since the last call."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            left_s = deadline - time.monotonic()
            assert select.select([self.descriptor], [], [], max(0, left_s))[0], self.seen
            self.seen += os.read(self.descriptor, 65536).decode()
        self.seen = self.seen.partition(text)[2]


def resize(descriptor: int, lines: int, columns: int) -> None:
    """Sets the size of a terminal."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def on_terminal(line: Sequence[str], env: Mapping[str, str]) -> Iterator[Terminal]:
    """Starts a command as the foreground process of a terminal of 24 lines and 80 columns."""
    ours, theirs = os.openpty()
    resize(theirs, 24, 80)
    process = subprocess.Popen(
        ["setsid", "--ctty", *line], env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        with suppress(OSError):
            os.close(ours)
