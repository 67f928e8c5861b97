"""Gives the places of keys to jobs in a PostgreSQL database; see keys.sql."""

from queued.store.postgres.connection import Database
from queued.store.postgres.queues import SKIPPED_MS

_AT_ONCE = 10_000
# Changes before those that were taken so long ago are looked for only at such intervals: their
# entries stay in the index as long as any transaction on the server may see them.
_KEPT_MS = 20_000


class Keys:
    """The places and lines of all keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.given = False  # whether the last call of `give_places` gave any
        self.first = 0  # the number from which on this turn looks for changes
        # The last changes that were taken at the last two intervals and until now.
        self._passed, self._before, self._taken = 0, 0, 0
        self._began_ms = 0  # when the interval began

    def begin(self, now_ms: int) -> None:
        """Chooses where a turn begins to look for changes.

        The first turn of an interval looks for all, because a transaction that has made a change
        may be committed at any time after it.
        """
        self.first = self._passed
        if not 0 <= now_ms - self._began_ms < _KEPT_MS:
            self._passed, self._before, self._began_ms = self._before, self._taken, now_ms
            self.first = 0

    def give_places(self, *, now_ms: int) -> int | None:
        """Gives free places to the first jobs of the lines of keys, after at most 10,000 changes.

        Call it inside a transaction. Returns when it must be called again; None if all is done.
        """
        self.given = False
        if not self._database.value("hold_keys"):
            return now_ms + SKIPPED_MS
        taken = self._database.rows("take_changed_keys", first=self.first, limit=_AT_ONCE)
        self._taken = max([self._taken, *(last for _, _, last in taken)])
        keys, left = [key for key, _, _ in taken], list[str]()
        self._database.run("take_places_back", keys=keys)
        while keys:
            found = self._database.rows("give_places", keys=keys)
            left += [key for key, given in found if not given]
            keys = [key for key, given in found if given]
            self.given |= bool(keys)
        if left:
            self._database.run("keep_changed_keys", keys=left)
            return now_ms + SKIPPED_MS
        return now_ms if sum(count for _, count, _ in taken) == _AT_ONCE else None
