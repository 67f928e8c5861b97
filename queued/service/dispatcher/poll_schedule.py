"""Decides when the dispatcher reads commits of other processes: after events or at intervals."""

import errno

from queued.core import times
from queued.service.dispatcher.deadlines import Deadlines
from queued.service.log import Log
from queued.store.ledger import Ledger
from queued.store.protocols import Watcher

# The kernel frees a lock shortly after the event of its file: the times of the tries after it.
_LOCK_TRIES_S = (0.0, 0.001, 0.01, 0.1, 1.0)
_REMEDIES = {
    errno.EMFILE: "; raise fs.inotify.max_user_instances",
    errno.ENOSPC: "; raise fs.inotify.max_user_watches",
}


class PollSchedule:
    """`requested`: the next turn must read changes, because of an event or because a job is due."""

    def __init__(self, watcher: Watcher | None, deadlines: Deadlines) -> None:
        """`watcher` is None if inotify is not available."""
        self.requested = True
        self._watcher = watcher
        self._deadlines = deadlines
        self._lock_tries_s: list[float] = []

    def on_event(self) -> None:
        """Reads the events of the watcher."""
        if self._watcher is not None:
            changes = self._watcher.read()
            self.requested = self.requested or changes.database
            if changes.locks:
                now_s = times.monotonic_s()
                self._lock_tries_s = [now_s + after_s for after_s in _LOCK_TRIES_S]
                self._deadlines.set("lock", now_s)

    def is_due(self, now_s: float) -> bool:
        """Returns whether the next turn must read changes."""
        return self.requested or any(
            self._deadlines.due(name, now_s) for name in ("lock", "poll", "rescue", "placement")
        )

    def on_read(self, interval_s: float, now_s: float) -> None:
        """Sets the time of the next read after one; without a watcher that is in `interval_s`."""
        self._lock_tries_s = [at_s for at_s in self._lock_tries_s if at_s > now_s]
        self._deadlines.set("lock", min(self._lock_tries_s, default=times.NEVER_S))
        if self._watcher is None:
            self._deadlines.set("poll", now_s + interval_s)


def watch(ledger: Ledger, log: Log) -> Watcher | None:
    """Returns a watcher of the database; None, with a warning, if the system has none to give."""
    try:
        return ledger.watcher()
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "")
        log.warning(
            "database.watch_missing",
            error=str(error),
            action=f"reads it every worker_poll_interval{remedy}",
        )
        return None
