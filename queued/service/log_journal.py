"""Sends log lines to the journal of systemd as entries with fields of their own."""

import os
import select
import socket
from collections.abc import Mapping
from typing import Any

from logging_journald import JournaldTransport

_DAEMON = 3  # the syslog facility of what a service writes to its standard output
_FIELDS = {
    "event": "QUEUED_EVENT",
    "job": "QUEUED_JOB",
    "queue": "QUEUED_QUEUE",
    "state": "QUEUED_STATE",
}


def to_journal(descriptor: int) -> bool:
    """Returns whether the descriptor is the journal; JOURNAL_STREAM alone may be inherited."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Journal:
    """The socket of the journal. An entry is sent whole or not at all, and nothing blocks."""

    def __init__(self) -> None:
        """Raises OSError if the journal has no socket."""
        self._transport = _Transport()

    def send(
        self, line: str, priority: int, fields: Mapping[str, Any], *, patience_s: float
    ) -> None:
        """Sends the line with the fields that `journalctl FIELD=VALUE` may select it by.

        Raises BlockingIOError if the journal makes no room in time, and OSError if its socket is
        gone.
        """
        entry = [
            ("MESSAGE", line),
            ("PRIORITY", priority),
            ("SYSLOG_IDENTIFIER", "queued"),
            ("SYSLOG_FACILITY", _DAEMON),
            *((field, fields[name]) for name, field in _FIELDS.items() if name in fields),
        ]
        if self._transport.socket.fileno() < 0:  # the journal could not be reached at the last line
            self._transport = _Transport()
        try:
            self._transport.send(entry)
        except BlockingIOError:
            if not self._has_room(patience_s):
                raise
            self._transport.send(entry)

    def _has_room(self, patience_s: float) -> bool:
        room = select.poll()
        room.register(self._transport.socket, select.POLLOUT)
        return bool(room.poll(patience_s * 1000))


class _Transport(JournaldTransport):  # type: ignore[misc] # it ships no types
    """Sockets that do not block, also after a restart of the journal."""

    def _open(self) -> socket.socket:
        opened: socket.socket = super()._open()
        opened.settimeout(0)
        return opened

    def _connect(self) -> socket.socket:
        opened = self._open()
        try:
            opened.connect(str(self.socket_path))
        except OSError:
            opened.close()  # Python 3.14 warns of one that is left open
            raise
        return opened
