"""Makes jobs ready when they are due, and finds those that expire, in a PostgreSQL database."""

from queued.core.runs import Claim
from queued.store.dependencies import Dependencies
from queued.store.ledger_rows import claim_of
from queued.store.postgres.connection import Database
from queued.store.postgres.keys import Keys
from queued.store.postgres.queues import SKIPPED_MS


class DueJobs:
    """The jobs that wait for a time, for other jobs, or for a place of their key."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dependencies = Dependencies(database, list)
        self._keys = Keys(database)
        self.next_expiry: int | None = None  # as the last transaction has read it
        self.others_may_start = False  # what waited for jobs or a place, since `promote` last ran

    def promote(self, *, now_ms: int, limit: int) -> int | None:
        """Does for `Ledger.promote` all but the counts."""
        self.others_may_start = False
        self._keys.begin(now_ms)
        due, changed, keys_changed, key_due = self._next_times()
        if changed:
            told = self.others_may_start = self._dependencies.tell(now_ms=now_ms)
            due, changed, keys_changed, key_due = self._next_times()
        if due is not None and due <= now_ms:
            promoted = self._database.change("promote", now=now_ms, limit=limit)
            due, _, keys_changed, key_due = self._next_times()
            if due is not None and promoted < limit:  # others have locked the due jobs left
                due = max(due, now_ms + SKIPPED_MS)
        if changed:  # too many for one turn, or others have locked the jobs left
            due = now_ms if told else now_ms + SKIPPED_MS
        if keys_changed or (key_due is not None and key_due <= now_ms):
            key_due = self._keys.give_places(now_ms=now_ms, due_ms=key_due)
            self.others_may_start |= self._keys.given
        return min((ms for ms in (due, key_due) if ms is not None), default=None)

    def expire(self, instance: str, token: int, *, now_ms: int, limit: int) -> list[Claim]:
        """See `Ledger.expire`."""
        rows = self._database.rows(
            "claim_expired", instance=instance, token=token, now=now_ms, limit=limit
        )
        claims = [claim_of(row) for row in rows]
        self._next_times()
        if self.next_expiry is not None and len(claims) < limit:
            # Others have locked the expired jobs left.
            self.next_expiry = max(self.next_expiry, now_ms + SKIPPED_MS)
        return claims

    def _next_times(self) -> tuple[int | None, bool, bool, int | None]:
        rows = self._database.rows("next_times", first=self._keys.first)
        ((due, changed, self.next_expiry, keys_changed, key_due),) = rows
        return due, changed, keys_changed, key_due
