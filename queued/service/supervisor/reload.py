"""Reading the conf file again: who still has the old settings, and how `--reload` learns the end.

`queued --reload PID` sends HUP and waits; systemd has `ExecReload=` do that, so that `systemctl
reload` returns when it is done, and fails when the file was refused. The service tells of the end
in a file of its runtime directory, the only place that both know.
"""

import json
import os
import select
import signal
import sys
from collections.abc import Collection, Mapping
from typing import NamedTuple

from queued.core.errors import ConfigError, NotFoundError, QueuedError, UsageError
from queued.service.supervisor.children import Child

_LOOK_MS = 20


class Renewal:
    """The children that live when the settings change; each is replaced once it is idle."""

    def __init__(self, living: Collection[Child]) -> None:
        self._old = {child.pid for child in living}

    def old(self, living: Collection[Child]) -> list[Child]:
        """Those of `living` that still have the old settings."""
        return [child for child in living if child.pid in self._old]

    def next(
        self, workers: list[Child], leaving: Collection[int], busy: Collection[int]
    ) -> list[Child]:
        """Whom to tell to leave now: one at a time, but nobody waits for one that is busy."""
        old = self.old(workers)
        if any(child.pid in leaving and child.slot not in busy for child in old):
            return []
        return [child for child in old if child.pid not in leaving][:1]


class Record(NamedTuple):
    """How many reloads were begun, how many have ended, and why the last was refused."""

    begun: int = 0
    ended: int = 0
    refused: str = ""


class ReloadFile:
    """Where the record is kept; nowhere, where there is no runtime directory."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        directory = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._path = os.path.join(directory, "reload") if directory else None
        self._begun = 0

    def reset(self) -> None:
        """A service starts; what is there tells of another."""
        self._write(Record())

    def begin(self) -> None:
        """A reload has begun."""
        self._begun += 1
        self._write(Record(self._begun, self._begun - 1))

    def end(self, refused: str = "") -> None:
        """All that were begun are done; the last may have been refused."""
        self._write(Record(self._begun, self._begun, refused))

    def _write(self, record: Record) -> None:
        if self._path is None:
            return
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(new, self._path)

    def read(self) -> Record:
        """The record of a service that may be another process."""
        if self._path is None:
            msg = "--reload needs the RUNTIME_DIRECTORY of systemd; send HUP and look at the log"
            raise UsageError(msg)
        try:
            with open(self._path, encoding="utf-8") as file:
                return Record(*json.load(file))
        except FileNotFoundError:
            return Record()


def reload(pid: int, file: ReloadFile) -> None:
    """Has the service read its conf file and waits until all of it has the new settings.

    Raises ConfigError with the reason if the file was refused.
    """
    before = file.read().begun
    # `systemctl stop` ends who waits, too, and that is no failure.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    try:
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGHUP)
    except OSError as error:
        msg = f"cannot signal the process {pid}: {error.strerror}"
        raise NotFoundError(msg) from None
    dead = select.poll()
    dead.register(process, select.POLLIN)
    while (now := file.read()).ended <= before:
        if dead.poll(_LOOK_MS):
            msg = "the service ended meanwhile; see its log"
            raise QueuedError(msg)
    if now.refused:
        raise ConfigError(now.refused)
