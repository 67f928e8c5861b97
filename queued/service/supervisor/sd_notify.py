"""Tells whoever started us how we are: systemd through sd_notify, `--background` through a pipe."""

import os
from collections.abc import Mapping
from contextlib import suppress

from sdnotify import SystemdNotifier

from queued.core import times


class SdNotify:
    """Silent where nobody listens."""

    def __init__(self, ready_pipe: int | None = None) -> None:
        self.listening = "NOTIFY_SOCKET" in os.environ
        self._systemd = SystemdNotifier()
        self._ready_pipe = ready_pipe
        self._line = ""

    def ready(self) -> None:
        """The service can do its work, or has done what `reloading` began."""
        self._systemd.notify("READY=1")
        if self._ready_pipe is not None:
            with suppress(BrokenPipeError):  # who started us has not waited
                os.write(self._ready_pipe, b"1")
            os.close(self._ready_pipe)
            self._ready_pipe = None

    def status(self, line: str) -> None:
        """One line for `systemctl status`; sent when it has changed."""
        if line != self._line:
            self._line = line
            self._systemd.notify(f"STATUS={line}")

    def watchdog(self) -> None:
        """All is well."""
        self._systemd.notify("WATCHDOG=1")

    def reloading(self) -> None:
        """The conf file is read again; `ready` follows."""
        now_us = int(times.monotonic_s() * 1_000_000)
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def extend(self, seconds: float) -> None:
        """What is going on takes longer; another word comes within this time."""
        self._systemd.notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def stopping(self) -> None:
        """The service is on its way out."""
        self._systemd.notify("STOPPING=1")


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How often systemd wants to hear that all is well; None if nobody wants to.

    As sd_watchdog_enabled(3) says: nothing if it is meant for another process.
    """
    meant_for = environment.get("WATCHDOG_PID", str(os.getpid()))
    limit = environment.get("WATCHDOG_USEC", "")
    if not limit.isdecimal() or meant_for != str(os.getpid()):
        return None
    return int(limit) / 1_000_000 or None
