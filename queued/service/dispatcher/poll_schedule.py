"""When the dispatcher looks at the database: as its files change, and at given times."""

from queued.core import times
from queued.service.linux.event_loop import EventLoop
from queued.service.log import Log
from queued.store.change_watcher import ChangeWatcher

# A lock is free a moment after its file was closed: look again after these times.
_LOCK_LOOKS_S = (0.0, 0.001, 0.01, 0.1, 1.0)


class PollSchedule:
    """`wanted`: others may have changed the database, or a job may be due."""

    def __init__(self, database: str, loop: EventLoop, log: Log) -> None:
        self.wanted = True
        self._times_s: list[float] = []
        self._changes = _watch(database, log)
        if self._changes is not None:
            loop.add(self._changes.fileno(), self._changed)

    def poll(self, interval_s: float) -> None:
        """After a turn: where the kernel tells nothing, looks again in a while."""
        if self._changes is None:
            self._times_s = [times.monotonic_s() + interval_s]

    def at(self, at_s: float) -> None:
        """Looks then, too."""
        if at_s < times.NEVER_S:
            self._times_s = sorted({*self._times_s, at_s})

    def due(self, now_s: float) -> bool:
        """Whether it is time to look."""
        while self._times_s and self._times_s[0] <= now_s:
            self._times_s.pop(0)
            self.wanted = True
        return self.wanted

    @property
    def next_s(self) -> float:
        """When a look is due, if nothing changes before."""
        return self._times_s[0] if self._times_s else times.NEVER_S

    def _changed(self) -> None:
        if self._changes is not None:
            written, closed = self._changes.take()
            self.wanted = self.wanted or written
            if closed:
                now_s = times.monotonic_s()
                self._times_s = [now_s + after_s for after_s in _LOCK_LOOKS_S]


def _watch(database: str, log: Log) -> ChangeWatcher | None:
    try:
        return ChangeWatcher(database)
    except OSError as error:
        log.warning(
            "database.watch_missing",
            error=str(error),
            action="looks every worker_poll_interval; raise fs.inotify.max_user_instances",
        )
        return None
