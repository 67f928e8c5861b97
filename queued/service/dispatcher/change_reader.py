"""Reads what other processes have committed: settings, stop and cancel requests, instances."""

from collections.abc import Sequence
from typing import NamedTuple

from queued.core.errors import EvictedError
from queued.core.model import Instance
from queued.core.runs import Key, SignalRequest
from queued.store import instance_lock
from queued.store.engine import Engine
from queued.store.ledger import Ledger


class DatabaseChanges(NamedTuple):
    """The rows that other processes may have changed in the database."""

    stored: dict[str, str]  # settings
    stop_requested: bool
    cancelled: list[Key]
    signals: list[SignalRequest]
    instances: list[Instance]


class ChangeReader:
    """Reads only after a commit of another process, which changes the database's version."""

    def __init__(self, ledger: Ledger, engine: Engine, instance: str, lock_descriptor: int) -> None:
        self._ledger = ledger
        self._name = engine.name
        self._instance = instance
        self._lock_descriptor = lock_descriptor
        self._lock_path = instance_lock.path_of(engine.instance_files, instance)
        self._version: int | None = None  # the database's version at the last read

    def read(self, *, even_if_unchanged: bool, workers: Sequence[int]) -> DatabaseChanges | None:
        """Returns the changes; None if no other process has committed since the last call.

        If `even_if_unchanged`, the result is never None. Signals for runs of other workers than
        `workers`, which are connected, are left for a later call.

        The caller has begun a transaction, which holds the write lock, so that no commit is missed.
        Raises EvictedError if the lock file or the row of this instance was removed.
        """
        if not instance_lock.is_in_place(self._lock_path, self._lock_descriptor):
            msg = f"the lock file {self._lock_path} was removed or replaced; the service ends"
            raise EvictedError(msg)
        version = self._ledger.version()
        if version == self._version and not even_if_unchanged:
            return None
        self._version = version
        own = self._ledger.instance(self._instance)
        if own is None:
            msg = f"the row of this service was removed from {self._name}; the service ends"
            raise EvictedError(msg)
        return DatabaseChanges(
            self._ledger.config(),
            own.stop_requested_ms is not None,
            self._ledger.cancel_requests(self._instance),
            self._ledger.take_signals(self._instance, workers),
            self._ledger.instances(),
        )

    def on_rollback(self) -> None:
        """Makes the next `read` return the changes again, because the turn was rolled back."""
        self._version = None
