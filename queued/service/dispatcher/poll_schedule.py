"""When the dispatcher reads what other processes have committed: after events, or in time."""

from queued.core import times
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.log import Log
from queued.store.change_watcher import ChangeWatcher

# The kernel frees a lock a moment after the event of its file: look again after these times.
_LOCK_LOOKS_S = (0.0, 0.001, 0.01, 0.1, 1.0)


class PollSchedule:
    """`requested`: the next turn reads changes, because there may be some or a job may be due."""

    def __init__(self, watcher: ChangeWatcher | None, deadlines: Deadlines) -> None:
        """`watcher` is None where the kernel reports no changes."""
        self.requested = True
        self._watcher = watcher
        self._deadlines = deadlines
        self._lock_looks_s: list[float] = []

    def on_event(self) -> None:
        """Reads the events of the watcher."""
        if self._watcher is not None:
            changes = self._watcher.read()
            self.requested = self.requested or changes.database
            if changes.locks:
                now_s = times.monotonic_s()
                self._lock_looks_s = [now_s + after_s for after_s in _LOCK_LOOKS_S]
                self._deadlines.set("lock", now_s)

    def is_due(self, now_s: float) -> bool:
        """Returns whether the next turn must read changes."""
        return self.requested or any(
            self._deadlines.due(name, now_s) for name in ("lock", "poll", "rescue")
        )

    def on_looked(self, interval_s: float, now_s: float) -> None:
        """A turn has read the changes. Without a watcher, the next look is `interval_s` later."""
        self._lock_looks_s = [at_s for at_s in self._lock_looks_s if at_s > now_s]
        self._deadlines.set("lock", min(self._lock_looks_s, default=times.NEVER_S))
        if self._watcher is None:
            self._deadlines.set("poll", now_s + interval_s)


def watch(database: str, log: Log) -> ChangeWatcher | None:
    """Returns a watcher of the database's files; None where the kernel has none to give."""
    try:
        return ChangeWatcher(database)
    except OSError as error:
        log.warning(
            "database.watch_missing",
            error=str(error),
            action="looks every worker_poll_interval; raise fs.inotify.max_user_instances",
        )
        return None
