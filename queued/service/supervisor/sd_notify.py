"""Notifies systemd through sd_notify(3), and the caller of `--background` through a pipe.

Never blocks. While systemd does not read its socket, messages wait in their order for the next
`flush`. A status line replaces one that waits, and messages that are repeated anyway are dropped.
"""

import os
from collections.abc import Mapping
from contextlib import suppress

from sdnotify import SystemdNotifier

from queued.core import times

_RETRY_S = 0.5


class SdNotify:
    """Does nothing if neither systemd nor `--background` started the service."""

    def __init__(self, ready_pipe: int | None = None) -> None:
        self._systemd = SystemdNotifier()
        if self._systemd.socket is not None:
            self._systemd.socket.settimeout(0)
            self._systemd.debug = True  # errors are raised
        self._waiting: list[str] = []
        self._ready_pipe = ready_pipe
        self._line = ""

    def ready(self) -> None:
        """Reports that the service is ready, at its start or after a reload."""
        self._send("READY=1")
        if self._ready_pipe is not None:
            with suppress(BrokenPipeError):  # the caller has exited
                os.write(self._ready_pipe, b"1")
            os.close(self._ready_pipe)
            self._ready_pipe = None

    def status(self, line: str) -> None:
        """Sends the line that `systemctl status` shows, if it has changed."""
        if line != self._line:
            self._line = line
            self._waiting = [text for text in self._waiting if not text.startswith("STATUS=")]
            self._send(f"STATUS={line}")

    def watchdog(self) -> None:
        """Reports that the service does not hang."""
        self._try("WATCHDOG=1")

    def reloading(self) -> None:
        """Reports that a reload has begun; `ready` must follow."""
        now_us = int(times.monotonic_s() * 1_000_000)
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def extend(self, seconds: float) -> None:
        """Asks for more time; the next message must come within these seconds."""
        self._try(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def stopping(self) -> None:
        """Reports that the shutdown has begun."""
        self._send("STOPPING=1")

    def flush(self, now_s: float) -> float | None:
        """Sends what waits; returns when to try again, None if nothing waits."""
        while self._waiting and self._try(self._waiting[0]):
            del self._waiting[0]
        return now_s + _RETRY_S if self._waiting else None

    def _send(self, text: str) -> None:
        self._waiting.append(text)
        self.flush(0.0)

    def _try(self, text: str) -> bool:
        """Returns False if systemd has no room for the message now."""
        try:
            self._systemd.notify(text)
        except BlockingIOError:
            return False
        except OSError:
            return True  # systemd is gone
        return True


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Returns the interval in which systemd expects WATCHDOG=1; None if it expects none.

    As sd_watchdog_enabled(3) says: None if the interval is meant for another process.
    """
    meant_for = environment.get("WATCHDOG_PID", str(os.getpid()))
    limit = environment.get("WATCHDOG_USEC", "")
    if not limit.isdecimal() or meant_for != str(os.getpid()):
        return None
    return int(limit) / 1_000_000 or None
