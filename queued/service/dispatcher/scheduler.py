"""Fires schedules in the turns of the dispatcher, and keeps those of the conf file equal to it."""

from collections.abc import Iterable, Sequence

from queued.core import times
from queued.core.settings_in_force import Settings
from queued.service.dispatcher.live_settings import SettingsOrigin
from queued.service.dispatcher.turn_results import RecordedRun
from queued.service.log import Log
from queued.store.firings import AppliedFile, Fired
from queued.store.ledger import Ledger


class Scheduler:
    """`next_ms`: when the next schedule is due, by the clock of the queue; None if none is."""

    def __init__(self, ledger: Ledger, host: str, log: Log) -> None:
        self.next_ms: int | None = None
        self._ledger = ledger
        self._host = host
        self._log = log
        self._unread = True  # `next_ms` may be wrong
        self._seen_ms: int | None = None  # the clock of the queue at the last `fire`
        self._enabled = False
        self._waits = False  # a schedule waits for the end of its job
        self._fired: Sequence[Fired] = ()  # by the open transaction

    def fire(self, settings: Settings, now_ms: int, *, enabled: bool) -> bool:
        """Fires what is due if `enabled` and if the setting `schedules` is on.

        Returns whether there are new jobs. Call it in a transaction.
        """
        self._fired = ()
        enabled = enabled and settings.schedules
        if self._seen_ms is None or now_ms < self._seen_ms:
            self._ledger.schedules.clock_was_set(now_ms=now_ms)
            self._unread = True
        self._seen_ms = now_ms
        self._enabled = enabled
        if not enabled:
            self.next_ms, self._unread = None, True
        elif self._unread or (self.next_ms is not None and self.next_ms <= now_ms):
            self._fired = self._ledger.schedules.fire(
                max_retries=settings.default_max_retries, now_ms=now_ms
            )
            self.read(now_ms)
        return any(fired.jobs for fired in self._fired)

    def read(self, now_ms: int) -> None:
        """Reads when the next schedule is due, if schedules may fire. In a transaction."""
        if self._enabled:
            following = self._ledger.schedules.next_firing(now_ms=now_ms)
            self.next_ms, self._waits, self._unread = *following, False

    def on_committed(self, finished: Iterable[RecordedRun]) -> bool:
        """Logs what the transaction has fired.

        Returns whether a schedule may be due now because one of the finished runs was of its job.
        """
        for fired in self._fired:
            self._log_fired(fired)
        self._fired = ()
        ended = self._waits and any(
            "QUEUED_SCHEDULE" in (run.claim.options.env or {}) for run in finished
        )
        self._unread |= ended
        return ended

    def on_rollback(self) -> None:
        """Makes the next `fire` read again what is due."""
        self._fired, self._unread, self._seen_ms = (), True, None

    def _log_fired(self, fired: Fired) -> None:
        name = fired.schedule
        if fired.refused:
            self._log.error("schedule.refused", schedule=name, error=fired.refused)
        elif fired.missed_ms is not None:
            since = times.iso(fired.missed_ms)
            self._log.warning("schedule.missed", schedule=name, since=since, fired=len(fired.jobs))
        for at_ms, reason in fired.skipped.items():
            at = times.iso(at_ms)
            self._log.info("schedule.skipped", schedule=name, scheduled_at=at, reason=reason)
        for at_ms, job in fired.jobs.items():
            self._log.info(
                "schedule.fired",
                schedule=name,
                scheduled_at=times.iso(at_ms),
                job=job,
                replaced=fired.replaced or None,
            )

    # The conf file

    def keep_equal(self, origin: SettingsOrigin) -> None:
        """Stores the schedules of the conf file, in a transaction of its own.

        Does nothing if an earlier dispatcher has stored them.
        """
        if origin.schedules is None:
            return
        file = f"{self._host}:{origin.conf_path()}"
        with self._ledger.transaction():
            now_ms = self._ledger.now_ms()
            applied = self._ledger.schedules.keep_equal(origin.schedules, file, now_ms=now_ms)
        self._unread = True
        self._log_applied(applied)

    def _log_applied(self, applied: AppliedFile) -> None:
        if applied.added or applied.changed or applied.removed:
            changes = applied._asdict()
            del changes["conflicting"]
            self._log.info("schedules.applied", **changes)
        for name in applied.conflicting:
            self._log.error(
                "schedule.not_applied",
                schedule=name,
                error="`schedule add` made a schedule of this name",
                action=f"give one of them another name, or: queuectl schedule remove {name}",
            )
