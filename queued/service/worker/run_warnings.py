"""The log lines for runs that cannot be started or killed, with what to do about it."""

from queued.service.log import Log
from queued.service.worker.execution import Execution


class RunWarnings:
    """Warns once of each run that the system refuses to start, or that cannot be killed."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._refused: int | None = None  # the token of the last such claim
        self._unkillable: int | None = None

    def of_refused(self, execution: Execution) -> None:
        """Warns if the command of the run could not be started."""
        if execution.refused and execution.run.key.token != self._refused:
            self._refused = execution.run.key.token
            action = "tried again; raise the limits of processes, memory or descriptors"
            self._log.warning("job.start_refused", job=execution.run.id, action=action)

    def of_unkillable(self, execution: Execution) -> bool:
        """Warns if the run cannot be killed; returns whether that is new."""
        if not execution.unkillable or execution.run.key.token == self._unkillable:
            return False
        self._unkillable = execution.run.key.token
        action = (
            "end its processes: they belong to another user, hang in a system call, are held by "
            "a debugger (TracerPid in /proc/PID/status), or fork faster than they are killed, "
            "which control groups (Delegate=yes) prevent"
        )
        fields = {"pids": execution.pids(), "action": action}
        self._log.warning("job.unkillable", job=execution.run.id, **fields)
        return True
