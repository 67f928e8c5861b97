"""Tells `queued --reload PID` how the reload ended.

That command sends HUP to the service and waits, as the `ExecReload=` of the unit, so that
`systemctl reload` returns when the settings are in force, and fails if the conf file was refused.
The service writes the outcome to a file in its runtime directory, which both processes know.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from queued.core.errors import ConfigError, NotFoundError, QueuedError, UsageError

_POLL_MS = 20
_KEPT = 100  # the newest refusals


class Record(NamedTuple):
    """How many reloads have begun and ended, and the errors of those that were refused."""

    begun: int = 0
    ended: int = 0
    refused: dict[str, str] = {}  # noqa: RUF012 - never changed; by number


class ReloadFile:
    """The record of one service's reloads. Without a runtime directory no file is written."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        directory = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._path = os.path.join(directory, "reload") if directory else None
        self._record = Record()

    @property
    def begun(self) -> int:
        """The number of the last reload that has begun."""
        return self._record.begun

    @property
    def pending(self) -> bool:
        """Whether a reload has begun and has not ended."""
        return self._record.ended < self._record.begun

    def reset(self) -> None:
        """Overwrites the record of an earlier service. Raises OSError, as `begin` and `end` do."""
        self._write(Record())

    def begin(self) -> None:
        """Records that one more reload has begun."""
        self._write(self._record._replace(begun=self._record.begun + 1))

    def end(self, number: int, refused: str | None) -> None:
        """Records that all reloads up to this number have ended; `refused` is the error, if any."""
        kept = dict(self._record.refused)
        if refused is not None:
            kept |= {str(n): refused for n in range(self._record.ended + 1, number + 1)}
        kept = dict(list(kept.items())[-_KEPT:])
        self._write(self._record._replace(ended=number, refused=kept))

    def _write(self, record: Record) -> None:
        self._record = record
        if self._path is None:
            return
        new = f"{self._path}.new"
        with suppress(FileNotFoundError):
            os.unlink(new)  # a job may have made a FIFO there, and the open would wait for a reader
        with open(new, "x", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(new, self._path)

    def read(self) -> Record:
        """Returns the record that the service wrote. Raises UsageError without a directory."""
        if self._path is None:
            msg = "--reload needs the RUNTIME_DIRECTORY of systemd; send HUP and look at the log"
            raise UsageError(msg)
        try:
            with open(self._path, encoding="utf-8") as file:
                return Record(*json.load(file))
        except FileNotFoundError:
            return Record()


def reload(pid: int, file: ReloadFile) -> None:
    """Has the service read its conf file again and waits until the settings are in force.

    Raises ConfigError if the file was refused, NotFoundError if there is no such process,
    QueuedError if the service ends meanwhile.
    """
    # A reload of this number begins after this line, so that it reads the file as it is now.
    number = file.read().begun + 1
    # `systemctl stop` terminates this process, too, which must not count as a failed reload.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGHUP)
    except OSError as error:
        msg = f"cannot signal the process {pid}: {error.strerror}"
        raise NotFoundError(msg) from None
    exit_poll = select.poll()
    exit_poll.register(process, select.POLLIN)
    while (record := file.read()).ended < number:
        if exit_poll.poll(_POLL_MS):
            msg = "the service ended during the reload; see its log"
            raise QueuedError(msg)
    if (refused := record.refused.get(str(number))) is not None:
        raise ConfigError(refused)
