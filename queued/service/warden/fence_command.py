"""The command of the setting `fence_command`, such as the reboot of a host whose runs do not end.

The warden starts it when the lease ends, and goes on killing runs meanwhile.
"""

import os
import signal
from collections.abc import Sequence

from queued.service.log import Log

_SHELL = "/bin/sh"
_PRIVATE = "QUEUECTL_"  # variables that may have a password
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class FenceCommand:
    """Runs the command once for each end of the lease."""

    def __init__(self, command: str, log: Log) -> None:
        """Without a command (an empty text) nothing is done."""
        self._command = command
        self._log = log
        self._started = self._refused = False  # since the last `reset`
        self._pid: int | None = None  # until its exit is collected

    def start(self, pids: Sequence[int]) -> None:
        """Starts the command with the pids of the processes in QUEUED_PIDS, if it was not yet.

        The first start that the system refuses is logged. Call this again then: see `must_start`.
        """
        if not self._command or self._started or self.is_running:
            return
        arguments = ["sh", "-c", "--", self._command]
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_PRIVATE)}
        environment = {**kept, "QUEUED_PIDS": " ".join(map(str, pids))}
        try:
            self._pid = os.posix_spawn(
                _SHELL, arguments, environment, setsid=True, setsigmask=[], setsigdef=_SIGNALS
            )
        except OSError as error:
            if not self._refused:
                self._refused = True
                self._log.critical("lease.fence_failed", command=self._command, error=str(error))
            return
        self._started = True
        self._log.critical("lease.fence_started", command=self._command, pids=[*pids])

    @property
    def must_start(self) -> bool:
        """Whether the system has refused all starts since the last `reset`."""
        return self._refused and not self._started

    @property
    def is_running(self) -> bool:
        """Whether the command runs, or its end was not collected yet."""
        return self._pid is not None

    def collect(self) -> None:
        """Logs the end of the command if it has failed."""
        if self._pid is None:
            return
        ended, status = os.waitpid(self._pid, os.WNOHANG)
        if not ended:
            return
        self._pid = None
        if (code := os.waitstatus_to_exitcode(status)) != 0:
            self._log.critical("lease.fence_failed", command=self._command, exit_code=code)

    def reset(self) -> None:
        """Allows another start, because the lease was renewed."""
        self._started = self._refused = False
