"""Delays a turn for a moment, so that more results share its commit.

While every worker has prefetched runs, no worker waits for the dispatcher. Any message but a
result, and the first worker that has no prefetched run left, makes a turn due at once.
"""

from collections.abc import Iterable

from queued.service.dispatcher.claims import ClaimTable
from queued.service.ipc.messages import Message, Result

_GATHER_S = 0.005  # a result waits no longer for its record


class GroupCommit:
    """Counts the claims that each worker has left, by its messages since the last turn."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self.not_before_s = 0.0  # 0: at once

    def on_committed(self, claims: ClaimTable, present: Iterable[int], now_s: float) -> None:
        """A turn was committed: these are the claims now."""
        self._left = {worker: len(claims.of(worker)) for worker in present}
        provided = bool(self._left) and all(left > 1 for left in self._left.values())
        self.not_before_s = now_s + _GATHER_S if provided else 0.0

    def on_message(self, worker: int, message: Message) -> None:
        """A message of the worker, or about it, has arrived."""
        left = self._left[worker] = self._left.get(worker, 0) - 1
        if left <= 1 or not isinstance(message, Result):
            self.not_before_s = 0.0
