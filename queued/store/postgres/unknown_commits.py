"""The ends of runs that a commit without an answer may have recorded.

A worker sends a result until it is acknowledged. If such a commit was made, the next turn finds no
claim in force for the result, and must find out that the end was recorded by that commit.
"""

from collections.abc import Mapping, Sequence

from queued.core.model import State
from queued.core.runs import Key
from queued.core.settlement import Settlement
from queued.store.postgres.connection import Database


class UnknownCommits:
    """Remembers which ends are in question, for one dispatcher."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._in_question: set[Key] = set()
        self._settled: list[Key] = []  # in this transaction
        self._repeated: list[Key] = []  # of those in question, settled again in this transaction
        self._found: set[Key] = set()  # of these, recorded by the unknown commit

    def begin(self) -> None:
        """Begins a transaction."""
        self._settled, self._repeated, self._found = [], [], set()

    def on_unknown(self) -> None:
        """Notes that the commit of the transaction had no answer."""
        self._in_question.update(self._settled)

    def on_committed(self) -> None:
        """Forgets what the transaction has settled again."""
        self._in_question.difference_update(self._repeated)

    def states(
        self, endings: Sequence[Settlement], states: Mapping[Key, State]
    ) -> dict[Key, State]:
        """Returns `states`, which a settle has returned, and those of ends recorded before it."""
        self._settled += states
        repeated = [one for one in endings if one.claim.key in self._in_question]
        self._repeated += [one.claim.key for one in repeated]
        before = self._recorded(repeated)
        self._found |= before.keys() - states.keys()
        return {**before, **states}

    def has_recorded(self, key: Key) -> bool:
        """Returns whether this transaction has found that an unknown commit recorded this end."""
        return key in self._found

    def _recorded(self, endings: Sequence[Settlement]) -> dict[Key, State]:
        """Returns the jobs whose end is recorded as it is given."""
        if not endings:
            return {}
        jobs, numbers, tokens = ([one.claim.key[part] for one in endings] for part in range(3))
        rows = self._database.rows("recorded", jobs=jobs, numbers=numbers, tokens=tokens)
        found = {Key(*key): (outcome, State(state)) for *key, outcome, state in rows}
        return {
            key: found[key][1]
            for key, ending in ((one.claim.key, one.ending) for one in endings)
            if key in found and found[key][0] == ending.outcome
        }
