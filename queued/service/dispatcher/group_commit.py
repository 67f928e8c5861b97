"""Delays a turn by a few milliseconds, so that more results share its commit.

The delay makes no worker idle, because a turn is delayed only while every worker has a prefetched
run. A message other than a result, or a worker that has no prefetched run left, makes the turn due
at once.
"""

from collections.abc import Iterable

from queued.service.dispatcher.claims import ClaimTable
from queued.service.ipc.messages import Message, Result

_DELAY_S = 0.005  # the longest delay of a result


class GroupCommit:
    """Estimates how many claims each worker has left: one less for each message."""

    def __init__(self) -> None:
        self._claims_left: dict[int, int] = {}
        self.not_before_s = 0.0  # 0: at once
        self._may_sleep = False

    def on_committed(self, claims: ClaimTable, workers: Iterable[int], now_s: float) -> None:
        """Decides when the next turn is due. `claims` are those after the committed turn."""
        left = {worker: len(claims.of(worker)) for worker in workers}
        all_have_more = bool(left) and all(count > 1 for count in left.values())
        self.not_before_s = now_s + _DELAY_S if all_have_more else 0.0
        self._may_sleep = all_have_more and all(map(claims.will_last, left))
        self._claims_left = left

    def sleep_s(self, now_s: float) -> float:
        """Returns for how long no message needs to be received: no worker will become idle.

        To receive each result as it arrives would wake the dispatcher for each.
        """
        return max(0.0, self.not_before_s - now_s) if self._may_sleep else 0.0

    def on_message(self, worker: int, message: Message) -> None:
        """Counts a message that the worker sent, or that another process sent about it."""
        left = self._claims_left[worker] = self._claims_left.get(worker, 0) - 1
        if left <= 1 or not isinstance(message, Result):
            self.not_before_s = 0.0
