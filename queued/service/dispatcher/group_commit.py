"""Whether a turn can wait, so that more results share its commit.

While every worker has another run in hand, nobody needs the dispatcher: results gather for a
moment. Whatever else comes, and the first worker with an empty hand, has its turn at once.
"""

from collections.abc import Iterable

from queued.service.dispatcher.claims import ClaimTable
from queued.service.ipc.messages import Message, Result

_GATHER_S = 0.005  # a result waits no longer for its record


class GroupCommit:
    """Knows how many claims each worker has left, by what it said since the last turn."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self.until_s = 0.0  # no turn before; 0 if there must be one at once

    def on_committed(self, claims: ClaimTable, present: Iterable[int], now_s: float) -> None:
        """A turn was committed: these are the claims now."""
        self._left = {worker: len(claims.of(worker)) for worker in present}
        provided = bool(self._left) and all(left > 1 for left in self._left.values())
        self.until_s = now_s + _GATHER_S if provided else 0.0

    def heard(self, worker: int, message: Message) -> None:
        """A message came."""
        left = self._left[worker] = self._left.get(worker, 0) - 1
        if left <= 1 or not isinstance(message, Result):
            self.until_s = 0.0
