"""A turn that the database refused is made again, after a wait that grows; said once each time."""

import math

from queued.core.errors import QueuedError
from queued.service.log import Log

_FIRST_S = 0.05
_MAX_S = 5.0


class CommitBackoff:
    """Since when nothing goes, and when to try again."""

    def __init__(self, log: Log) -> None:
        self.next_s = -math.inf  # no turn before this time
        self._log = log
        self._count = 0

    def refused(self, error: QueuedError, now_s: float) -> None:
        """Nothing of the turn happened; its input is kept for the next try."""
        self.next_s = now_s + min(_FIRST_S * 2 ** min(self._count, 16), _MAX_S)
        self._count += 1
        if self._count == 1:
            self._log.error(
                "database.refused", error=str(error), action="tried again until it works"
            )

    def accepted(self) -> None:
        """A turn was made."""
        if self._count:
            self._log.info("database.recovered", refusals=self._count)
            self._count, self.next_s = 0, -math.inf
