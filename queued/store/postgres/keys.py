"""Gives the places of keys to jobs in a PostgreSQL database; see keys.sql and rates.sql."""

from queued.store.postgres.connection import Database
from queued.store.postgres.queues import SKIPPED_MS

_AT_ONCE = 10_000
_CLOCK_MS = 10
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

    def give_places(self, *, now_ms: int, due_ms: int | None) -> int | None:
        """Gives free places to the first jobs of the lines of keys, after at most 10,000 changes.

        Call it inside a transaction. `due_ms` is the first due time of a key with a rate. Returns
        when it must be called again, if no key changes; None if it need not.
        """
        self.given = False
        if not self._database.value("hold_keys"):
            return now_ms + SKIPPED_MS
        taken = self._database.rows("take_changed_keys", first=self.first, limit=_AT_ONCE)
        self._taken = max([self._taken, *(last for _, _, last, _ in taken)])
        rated = {key for key, _, _, has_rate in taken if has_rate}
        if due_ms is not None:
            rated |= {key for (key,) in self._database.rows("take_due_keys", limit=_AT_ONCE)}
        self._count_starts([*rated])
        keys = [*rated.union(key for key, *_ in taken)]
        self._database.run("take_places_back", keys=keys)
        left = self._give(keys, rated)
        if rated:
            self._schedule([*rated])
            due_ms = self._database.value("next_key_due")
        if left:
            self._database.run("keep_changed_keys", keys=left)
            return now_ms + SKIPPED_MS
        if sum(count for _, count, _, _ in taken) == _AT_ONCE:
            return now_ms
        # The clock of the server may be behind what is known of it.
        return None if due_ms is None else max(due_ms, now_ms + _CLOCK_MS)

    def _give(self, keys: list[str], rated: set[str]) -> list[str]:
        """Returns keys of which jobs that were to get places are changed by others.

        Adds to `rated` the keys of which jobs with a rate have got places.
        """
        left = list[str]()
        while keys:
            found = self._database.rows("give_places", keys=keys)
            left += [key for key, given, _ in found if not given]
            rated |= {key for key, _, has_rate in found if has_rate}
            keys = [key for key, given, _ in found if given]
            self.given |= bool(keys)
        return left

    def _count_starts(self, keys: list[str]) -> None:
        if keys:
            self._database.run("bring_back_key_starts", keys=keys)
            self._database.run("number_starts", keys=keys)

    def _schedule(self, keys: list[str]) -> None:
        """Sets when the rates of keys allow the next start, and forgets what no window has."""
        for statement in ("rate_keys", "forget_key_starts", "schedule_keys", "forget_rated_keys"):
            self._database.run(statement, keys=keys)
