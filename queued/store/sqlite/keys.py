"""Gives the places of keys to jobs in a SQLite database; see keys.sql."""

from queued.store.sqlite.connection import Database

_AT_ONCE = 10_000


class Keys:
    """The places and lines of all keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give_places(self) -> bool:
        """Gives free places to the first jobs of the lines of at most 10,000 keys.

        Call it inside a transaction. Returns whether all keys that have changed were among them.
        """
        changed = [row[0] for row in self._database.rows("changed_keys", limit=_AT_ONCE)]
        if not changed:
            return True
        keys = changed
        self._database.run("take_places_back", keys=str(keys))
        while keys:
            keys = [row[0] for row in self._database.rows("give_places", keys=str(keys))]
        self._database.run("forget_changed_keys", keys=str(changed))
        return len(changed) < _AT_ONCE
