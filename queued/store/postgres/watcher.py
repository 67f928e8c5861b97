"""Reports notifications of the server, and the ends of instances on this host."""

import os
import select
from contextlib import suppress

from queued.store.change_watcher import ChangeWatcher
from queued.store.postgres.connection import Database
from queued.store.protocols import DatabaseEvents


class PostgresWatcher:
    """A `Watcher` over the connection of a ledger, and the lock files of this host.

    A notification may arrive with the answer to any statement, after which the connection is not
    readable again. So notifications are counted in an eventfd, which is watched, too.
    """

    def __init__(self, database: Database, instance_files: str) -> None:
        """Raises OSError."""
        self._database = database
        self._epoll = select.epoll()
        self._arrived = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._arrived, select.EPOLLIN)
        self._locks: ChangeWatcher | None = None
        with suppress(OSError):  # without inotify the end of an instance is found at a renewal
            self._locks = ChangeWatcher(instance_files)
            self._epoll.register(self._locks.fileno(), select.EPOLLIN)
        database.listen(self._on_notification, self._on_connected)

    def _on_notification(self) -> None:
        os.eventfd_write(self._arrived, 1)

    def _on_connected(self, descriptor: int) -> None:
        """Watches a new connection; the kernel has forgotten the earlier one, which is closed."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._on_notification()  # what came meanwhile is lost

    def fileno(self) -> int:
        """See `Watcher.fileno`."""
        return self._epoll.fileno()

    def read(self) -> DatabaseEvents:
        """See `Watcher.read`."""
        locks = self._locks is not None and self._locks.read().locks
        self._database.receive()
        arrived = False
        with suppress(BlockingIOError):
            arrived = os.eventfd_read(self._arrived) > 0
        return DatabaseEvents(database=arrived, locks=locks)

    def close(self) -> None:
        """See `Watcher.close`."""
        self._epoll.close()
        os.close(self._arrived)
        if self._locks is not None:
            self._locks.close()
