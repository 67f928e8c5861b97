"""Tells whoever started us how we are: systemd through sd_notify, `--background` through a pipe."""

import os

from sdnotify import SystemdNotifier


class Notify:
    """Silent where nobody listens."""

    def __init__(self, ready_pipe: int | None = None) -> None:
        self._systemd = SystemdNotifier()
        self._ready_pipe = ready_pipe

    def ready(self) -> None:
        """The service can do its work."""
        self._systemd.notify("READY=1")
        if self._ready_pipe is not None:
            os.write(self._ready_pipe, b"1")
            os.close(self._ready_pipe)
            self._ready_pipe = None

    def status(self, line: str) -> None:
        """One line for `systemctl status`."""
        self._systemd.notify(f"STATUS={line}")

    def stopping(self) -> None:
        """The service is on its way out."""
        self._systemd.notify("STOPPING=1")
