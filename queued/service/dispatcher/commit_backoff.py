"""The delay before the dispatcher repeats a turn that the database refused."""

import math

from queued.core.errors import QueuedError
from queued.service.linux.limits import Limits
from queued.service.log import Log

_FIRST_S = 0.05
_MAX_S = 5.0


class CommitBackoff:
    """Doubles the delay with each refusal in a row; logs the first of each kind of error."""

    def __init__(self, log: Log) -> None:
        self.not_before_s = -math.inf
        self._log = log
        self._limits = Limits()
        self._count = 0
        self._logged: set[type[QueuedError]] = set()  # in this row of refusals

    def on_refused(self, error: QueuedError, now_s: float) -> None:
        """Sets the delay after a turn was rolled back.

        Raises `error` if another process has lowered limits of this one, because the dispatcher
        that the supervisor then starts has the original limits.
        """
        if lowered := self._limits.lowered():
            self._log.warning("process.limited", limits=lowered, action="exits, and is replaced")
            raise error
        self.not_before_s = now_s + min(_FIRST_S * 2 ** min(self._count, 16), _MAX_S)
        self._count += 1
        if type(error) not in self._logged:
            self._logged.add(type(error))
            self._log.error(
                "database.refused", error=str(error), action="tried again until it succeeds"
            )

    @property
    def refused(self) -> bool:
        """Whether the last turn was refused."""
        return self._count > 0

    def on_committed(self) -> None:
        """Ends the delay, because a turn was committed."""
        if self._count:
            self._log.info("database.recovered", refusals=self._count)
            self._count, self.not_before_s = 0, -math.inf
            self._logged.clear()
