"""The engine of a queue in one SQLite file.

Modules that only some commands need are imported where they are used, because most commands of
queuectl end within a tenth of a second.
"""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from queued.core.errors import DeniedError, QueuedError, StorageError
from queued.store import permissions
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.client_store import SqliteStore
from queued.store.sqlite.connection import Access

if TYPE_CHECKING:
    from queued.core.model import Instance
    from queued.store.engine import OnError, OnWait, Prepared
    from queued.store.sqlite.dispatcher_store import SqliteLedger
    from queued.store.sqlite.maintenance.commands import SqliteMaintenance


class SqliteEngine:
    """An `Engine`. `path` is absolute and leads through no symbolic link."""

    spans_hosts = False  # locks of files do not reach other hosts
    private_variables: tuple[str, ...] = ()
    wait_advice = "end the program that holds it; `lsof FILE` lists it"

    def __init__(self, path: str) -> None:
        self.name = self.instance_files = self._path = path

    def exists(self) -> bool:
        """See `Engine.exists`."""
        try:
            os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # opening it reports what is wrong
        return True

    def prepare(self, limit_s: float, on_error: "OnError | None" = None) -> "Prepared":  # noqa: ARG002
        """See `Engine.prepare`."""
        from queued.store.engine import Prepared

        store = self.open_store(limit_s)
        try:
            return Prepared(store.config(), store.backup_path)
        finally:
            store.close()

    def upgrade(self, limit_s: float) -> str | None:
        """See `Engine.upgrade`."""
        return self.prepare(limit_s).backup_path

    def open_store(
        self, limit_s: float | None, on_wait: "OnWait | None" = None, *, writes: bool = True
    ) -> SqliteStore:
        """See `Engine.open_store`."""
        busy_handler = BusyHandler(limit_s, on_wait)
        try:
            return SqliteStore(self._path, busy_handler)
        except (DeniedError, StorageError):
            for access in () if writes else (Access.READ, Access.SNAPSHOT):
                with suppress(QueuedError):
                    return SqliteStore(self._path, busy_handler, access)
            raise

    def open_ledger(self, on_wait: "OnWait") -> "SqliteLedger":
        """See `Engine.open_ledger`."""
        from queued.store.sqlite.dispatcher_store import SqliteLedger

        return SqliteLedger(self._path, BusyHandler(on_wait=on_wait))

    def import_ledger(self) -> None:
        """See `Engine.import_ledger`."""
        from queued.store import rates  # noqa: F401
        from queued.store.sqlite import dispatcher_store  # noqa: F401

    def maintenance(
        self, limit_s: float | None, on_wait: "OnWait | None" = None
    ) -> "SqliteMaintenance":
        """See `Engine.maintenance`."""
        from queued.store.sqlite.maintenance.commands import SqliteMaintenance

        return SqliteMaintenance(self._path, BusyHandler(limit_s, on_wait))

    def is_alive(self, instance: "Instance") -> bool:
        """See `Engine.is_alive`."""
        from queued.store import instance_lock

        return instance_lock.is_alive(self._path, instance.id)

    def wait_until_dead(self, instance: "Instance", timeout_s: float | None) -> None:
        """See `Engine.wait_until_dead`."""
        from queued.store import instance_lock

        instance_lock.wait_until_dead(self._path, instance.id, timeout_s)

    def check_trust(self) -> None:
        """See `Engine.check_trust`."""
        from queued.store.sqlite.error_names import named_errors

        with named_errors(self._path):
            permissions.check_database(self._path, serving=True)

    def describe(self) -> str:
        """See `Engine.describe`."""
        from queued.store.sqlite.maintenance import probe

        if self.exists():
            return f"good, schema {probe.schema_version(self._path)}"
        probe.check_directory(os.path.dirname(self._path))
        return "does not exist yet; it is created at the start"
