"""How `queued --reload PID` learns how the reload ended.

It sends HUP and waits; systemd has `ExecReload=` do that, so that `systemctl reload` returns when
the settings are in force, and fails if the conf file was refused. The service writes the outcome
into a file of its runtime directory, the only place that both processes know.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Mapping
from typing import NamedTuple

from queued.core.errors import ConfigError, NotFoundError, QueuedError, UsageError

_POLL_MS = 20
_KEPT = 100  # refusals


class Record(NamedTuple):
    """How many reloads have begun, how many have ended, and the refusals by number."""

    begun: int = 0
    ended: int = 0
    refused: dict[str, str] = {}  # noqa: RUF012 - never changed


class ReloadFile:
    """The record of the reloads of one service; nowhere if there is no runtime directory."""

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
        """Whether a reload has begun and not ended."""
        return self._record.ended < self._record.begun

    def reset(self) -> None:
        """Overwrites what another service left. Raises OSError, as the others do."""
        self._write(Record())

    def begin(self) -> None:
        """Writes that one more reload has begun."""
        self._write(self._record._replace(begun=self._record.begun + 1))

    def end(self, number: int, refused: str | None) -> None:
        """Writes that all reloads up to this number have ended, and why they were refused."""
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
        with open(new, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(new, self._path)

    def read(self) -> Record:
        """Returns the record of the service, which is another process. Raises UsageError."""
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

    Raises ConfigError with the reason if the file was refused.
    """
    # The next reload begins after this, so that it reads the file as it is now.
    number = file.read().begun + 1
    # `systemctl stop` ends this process, too, and that is no failure.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGHUP)
    except OSError as error:
        msg = f"cannot signal the process {pid}: {error.strerror}"
        raise NotFoundError(msg) from None
    dead = select.poll()
    dead.register(process, select.POLLIN)
    while (record := file.read()).ended < number:
        if dead.poll(_POLL_MS):
            msg = "the service ended during the reload; see its log"
            raise QueuedError(msg)
    if (refused := record.refused.get(str(number))) is not None:
        raise ConfigError(refused)
