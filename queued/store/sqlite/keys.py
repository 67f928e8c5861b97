"""Gives the places of keys to jobs in a SQLite database; see keys.sql and rates.sql."""

from collections.abc import Sequence

from queued.store.sqlite.connection import Database

_AT_ONCE = 10_000


class Keys:
    """The places and lines of all keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def give_places(self, *, now_ms: int) -> int | None:
        """Gives free places to the first jobs of the lines of at most 10,000 keys.

        Call it inside a transaction. Returns when it must be called again, if no key changes; None
        if it need not.
        """
        due_ms, set_ms = self._database.rows("next_key_due")[0]
        if due_ms is not None and (due_ms <= now_ms or set_ms > now_ms):
            self._database.run("note_due_keys", now=now_ms, limit=_AT_ONCE)
        changed = self._database.rows("changed_keys", limit=_AT_ONCE)
        keys = [key for key, _ in changed]
        if not keys:
            return None if due_ms is None else int(due_ms)
        rated = {key for key, has_rate in changed if has_rate}
        self._count_starts(rated, now_ms)
        self._database.run("take_places_back", keys=str(keys))
        rated |= self._give(keys, now_ms)
        self._schedule([*rated], now_ms)
        self._database.run("forget_changed_keys", keys=str(keys))
        if rated:
            due_ms = self._database.rows("next_key_due")[0][0]
        return now_ms if len(keys) == _AT_ONCE else due_ms

    def _give(self, keys: Sequence[int], now_ms: int) -> set[int]:
        """Returns the keys of which jobs with a rate have got places."""
        rated = set[int]()
        while keys:
            given = self._database.rows("give_places", keys=str(keys), now=now_ms)
            keys = [key for key, _ in given]
            rated |= {key for key, has_rate in given if has_rate}
        return rated

    def _count_starts(self, keys: set[int], now_ms: int) -> None:
        if keys:
            self._database.run("bring_back_key_starts", keys=str([*keys]), now=now_ms)
            for key, old, number, at in self._database.rows("unnumbered_starts", keys=str([*keys])):
                self._database.run("number_start", key=key, old=old, number=number, at=at)

    def _schedule(self, keys: Sequence[int], now_ms: int) -> None:
        """Sets when the rates of keys allow the next start, and forgets what no window has."""
        if keys:
            self._database.run("rate_keys", keys=str(keys))
            self._database.run("forget_key_starts", keys=str(keys), now=now_ms)
            self._database.run("schedule_keys", keys=str(keys), now=now_ms)
            self._database.run("forget_rated_keys", keys=str(keys))
