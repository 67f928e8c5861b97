"""The engine of a queue in one schema of a PostgreSQL database.

psycopg is imported only when the database is opened, because that takes longer than all else that
most commands of queuectl do. Modules that only some commands need are imported where they are used.
"""

import os
import sys
import time
from contextlib import closing, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from queued.core.errors import (
    BusyError,
    ConfigError,
    StorageError,
    WaitTimeoutError,
)
from queued.core.times import NEVER_S, monotonic_s
from queued.store import permissions
from queued.store.postgres.address import parse
from queued.store.system_errors import named_os_errors

if TYPE_CHECKING:
    from queued.core.model import Instance
    from queued.store.engine import OnError, OnWait, Prepared
    from queued.store.postgres.client_store import PostgresStore
    from queued.store.postgres.dispatcher_store import PostgresLedger
    from queued.store.postgres.maintenance.commands import PostgresMaintenance
    from queued.store.queue_copy import WriteBackup


_AGAIN_S = 1.0  # between two tries to reach the server at the start


class PostgresEngine:
    """An `Engine`. The files of instances on this host are below `directory`.

    `write_backup` is the part of the other engine that writes backups.
    """

    spans_hosts = True
    private_variables: tuple[str, ...] = ("PG",)
    wait_advice = "look at the network, the log of the server, and its view pg_stat_activity"

    def __init__(self, url: str, directory: str, write_backup: "WriteBackup") -> None:
        self._url, self._directory = url, directory
        self._write_backup = write_backup
        self.name = parse(url).shown

    @cached_property
    def instance_files(self) -> str:
        """See `Engine`. One name for each queue, which the options of its URL do not change."""
        import hashlib

        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return os.path.join(self._directory, f"postgres-{digest[:16]}")

    def exists(self) -> bool:
        """See `Engine.exists`. Returns True, because only the server knows it."""
        return True

    def prepare(self, limit_s: float, on_error: "OnError") -> "Prepared":
        """See `Engine.prepare`. An older schema is not upgraded: other hosts may use it."""
        _must_have_driver()
        from queued.store.engine import Prepared
        from queued.store.postgres import safety, upgrade

        with named_os_errors(self.instance_files):
            permissions.make_directory(os.path.dirname(self.instance_files))
        end_s, told = monotonic_s() + limit_s, False
        while True:
            try:
                upgrade.make_if_missing(self._url)
                safety.must_be_safe(self._url)
                with closing(self.open_store(limit_s)) as store:
                    return Prepared(store.config(), None)
            except (StorageError, BusyError) as error:  # the server may be starting, too
                if monotonic_s() >= end_s:
                    raise
                if not told:
                    on_error(error)
                told = True
                time.sleep(_AGAIN_S)

    def upgrade(self, limit_s: float) -> str | None:  # noqa: ARG002 - PostgreSQL limits the wait
        """See `Engine.upgrade`. Makes no copy: that is what pg_dump is for."""
        _must_have_driver()
        from queued.store.postgres import upgrade

        upgrade.migrate(self._url)
        return None

    def open_store(
        self,
        limit_s: float | None,
        on_wait: "OnWait | None" = None,
        *,
        writes: bool = True,  # noqa: ARG002 - the server refuses what the user may not do
    ) -> "PostgresStore":
        """See `Engine.open_store`."""
        _must_have_driver()
        from queued.store.postgres.client_store import PostgresStore

        return PostgresStore(self._url, limit_s, on_wait)

    def open_ledger(self, on_wait: "OnWait") -> "PostgresLedger":
        """See `Engine.open_ledger`."""
        from queued.store.postgres.dispatcher_store import PostgresLedger

        return PostgresLedger(self._url, on_wait, self.instance_files)

    def import_ledger(self) -> None:
        """See `Engine.import_ledger`."""
        from queued.store.postgres import dispatcher_store  # noqa: F401

    def maintenance(
        self,
        limit_s: float | None,  # noqa: ARG002 - PostgreSQL limits the wait
        on_wait: "OnWait | None" = None,  # noqa: ARG002 - a long statement does not wait
    ) -> "PostgresMaintenance":
        """See `Engine.maintenance`."""
        _must_have_driver()
        from queued.store.postgres.maintenance.commands import PostgresMaintenance

        return PostgresMaintenance(self._url, self.is_alive, self._write_backup)

    def is_alive(self, instance: "Instance") -> bool:
        """See `Engine.is_alive`. An instance of another host lives if its lease was renewed."""
        from queued.store import instance_lock

        with suppress(FileNotFoundError):  # without the directory no service has run here
            if instance.host_id == instance_lock.scope(self.instance_files):
                return instance_lock.is_alive(self.instance_files, instance.id)
        return instance.silent_s < instance.lease_s

    def wait_until_dead(self, instance: "Instance", timeout_s: float | None) -> None:
        """See `Engine.wait_until_dead`. An instance deletes its row at its end, if it can."""
        end_s = NEVER_S if timeout_s is None else monotonic_s() + timeout_s
        sleep_s = 0.05
        store = self.open_store(timeout_s)
        try:
            while any(
                other.id == instance.id and self.is_alive(other) for other in store.instances()
            ):
                left_s = end_s - monotonic_s()
                if left_s <= 0:
                    raise WaitTimeoutError
                time.sleep(min(sleep_s, left_s))
                sleep_s = min(2 * sleep_s, 0.5)
        finally:
            store.close()

    def check_trust(self) -> None:
        """See `Engine.check_trust`. Does nothing, because the server decides who may write."""

    def describe(self) -> str:
        """See `Engine.describe`."""
        _must_have_driver()
        from queued.store.postgres import safety, upgrade

        version = upgrade.found_schema(self._url)
        if version == 0:
            return "has no queue yet; it is made at the start"
        safety.must_be_safe(self._url)
        return f"good, schema {version}"


def _must_have_driver() -> None:
    """Raises ConfigError if psycopg is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        pip = f"python3 -m pip --python {sys.executable} install"
        msg = f"PostgreSQL needs psycopg ({error}); install it with: {pip} 'psycopg[binary]'"
        raise ConfigError(msg) from error
