"""Gives the places of keys to jobs in a PostgreSQL database; see keys.sql."""

from queued.store.postgres.connection import Database
from queued.store.postgres.queues import SKIPPED_MS

_AT_ONCE = 10_000


class Keys:
    """The places and lines of all keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.given = False  # whether the last call of `give_places` gave any

    def give_places(self, *, now_ms: int) -> int | None:
        """Gives free places to the first jobs of the lines of keys, after at most 10,000 changes.

        Call it inside a transaction. Returns when it must be called again; None if all is done.
        """
        self.given = False
        if not self._database.value("hold_keys"):
            return now_ms + SKIPPED_MS
        changed = [key for (key,) in self._database.rows("take_changed_keys", limit=_AT_ONCE)]
        keys, left = [*dict.fromkeys(changed)], list[str]()
        self._database.run("take_places_back", keys=keys)
        while keys:
            found = self._database.rows("give_places", keys=keys)
            left += [key for key, given in found if not given]
            keys = [key for key, given in found if given]
            self.given |= bool(keys)
        if left:
            self._database.run("keep_changed_keys", keys=left)
            return now_ms + SKIPPED_MS
        return now_ms if len(changed) == _AT_ONCE else None
