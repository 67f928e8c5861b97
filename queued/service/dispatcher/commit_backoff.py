"""The delay after which a turn that the database refused is made again."""

import math

from queued.core.errors import QueuedError
from queued.service.log import Log

_FIRST_S = 0.05
_MAX_S = 5.0


class CommitBackoff:
    """Counts refusals in a row: the delay doubles with each, and the first one is logged."""

    def __init__(self, log: Log) -> None:
        self.not_before_s = -math.inf
        self._log = log
        self._count = 0

    def on_refused(self, error: QueuedError, now_s: float) -> None:
        """A turn was rolled back; its input is kept for the next one."""
        self.not_before_s = now_s + min(_FIRST_S * 2 ** min(self._count, 16), _MAX_S)
        self._count += 1
        if self._count == 1:
            self._log.error(
                "database.refused", error=str(error), action="tried again until it works"
            )

    def on_committed(self) -> None:
        """A turn was committed."""
        if self._count:
            self._log.info("database.recovered", refusals=self._count)
            self._count, self.not_before_s = 0, -math.inf
