"""`--watch`: shows the result of a command on a terminal, and again whenever it changes.

The terminal's alternate screen is used, so that its former content comes back at the end. Between
two changes of the database the process sleeps. Because ages grow without such a change, the result
is also read at intervals that grow with the time since the last change.
"""

import gc
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import NoReturn, TextIO

from queued.core.errors import UsageError
from queued.core.times import monotonic_s
from queued.ctl.arguments import Arguments
from queued.ctl.change_watch import Watch
from queued.ctl.context import Context
from queued.ctl.render import terminal_size

_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l"  # alternate screen, no cursor, no line wrap
_LEAVE = b"\x1b[?7h\x1b[?25h\x1b[?1049l"
_APART_S = 0.25  # between two screens
_SHARE = 0.25  # of the time, at most, for reading the result
# Without a change the next screen follows after this part of the time since the last change.
_AGES_DRIFT = 0.1
_AGES_MIN_S, _AGES_MAX_S = 1.0, 60.0


def watch(context: Context, arguments: Arguments, show: Callable[[], int]) -> NoReturn:
    """Shows what `show` prints, again after each change, until the process gets a signal.

    Raises UsageError if standard output is no terminal, KeyboardInterrupt at Ctrl+C, SystemExit at
    TERM and HUP. The terminal is then as it was before.
    """
    if terminal_size() is None:
        msg = "--watch needs a terminal; leave it out to print the result once"
        raise UsageError(msg)
    for other in ("--json", "--check"):
        if arguments.flag(other):
            msg = f"--watch shows tables on a terminal; give it without {other}"
            raise UsageError(msg)
    gc.enable()  # `program` turns it off for short commands
    screen = _Screen(sys.stdout.fileno())
    wake = _catch_signals(screen)
    with closing(Watch(context.store, wake)) as changes, screen.in_use():
        _redraw(screen, changes, show, wake)


def _redraw(screen: "_Screen", changes: Watch, show: Callable[[], int], wake: int) -> NoReturn:
    changed_s = monotonic_s()
    while True:
        outage = _TerminalText(sys.stdout)
        with redirect_stderr(outage), changes.outages():
            start_s = monotonic_s()
            screen.draw(_printed(show))
            took_s = monotonic_s() - start_s
            time.sleep(max(_APART_S, took_s * (1 / _SHARE - 1)))
            unchanged_s = (monotonic_s() - changed_s) * _AGES_DRIFT
            if changes.wait(min(max(unchanged_s, _AGES_MIN_S), _AGES_MAX_S)):
                changed_s = monotonic_s()
        if lost := outage.getvalue().splitlines():
            screen.draw([*lost, *screen.shown])
        with suppress(BlockingIOError):
            os.read(wake, 4096)
            screen.forget()


def _printed(show: Callable[[], int]) -> list[str]:
    """Returns the lines that `show` prints, on both of its streams."""
    text = _TerminalText(sys.stdout)
    with redirect_stdout(text), redirect_stderr(text):
        show()
    return text.getvalue().splitlines()


class _TerminalText(io.StringIO):
    """Keeps what is printed, and has the size and the encoding of a terminal."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal

    def fileno(self) -> int:
        return self._terminal.fileno()

    def isatty(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # StringIO has none
        return self._terminal.encoding


class _Screen:
    """The alternate screen of a terminal. Lines that it shows already are not written again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown: list[str] = []

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Enters the alternate screen, and leaves it at the end; the terminal may be gone then."""
        try:
            self._write(_ENTER)
            yield
        finally:
            with suppress(OSError):
                self._write(_LEAVE)

    def draw(self, lines: list[str]) -> None:
        """Shows the lines that the terminal has room for."""
        size = terminal_size()
        lines = lines[: size.lines or None] if size else lines
        if lines != self.shown:
            self.shown = lines
            text = "\x1b[K\r\n".join(lines)
            self._write(f"\x1b[H{text}\x1b[K\x1b[J".encode(sys.stdout.encoding, "backslashreplace"))

    def forget(self) -> None:
        """Makes the next `draw` write all lines, also those that have not changed."""
        self.shown = []

    def suspend(self) -> None:
        """Stops this process as Ctrl+Z does, with the terminal as it was before."""
        self._write(_LEAVE)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._write(_ENTER)

    def _write(self, content: bytes) -> None:
        # Not through `sys.stdout`: `suspend` may interrupt one of its writes.
        while content:
            content = content[os.write(self._descriptor, content) :]


def _catch_signals(screen: _Screen) -> int:
    """Returns a descriptor that is readable after a resize or a suspension; other signals raise."""
    wake, notify = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(notify, warn_on_full_buffer=False)
    signal.signal(signal.SIGWINCH, lambda *_: None)
    signal.signal(signal.SIGTSTP, lambda *_: screen.suspend())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    return wake


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
