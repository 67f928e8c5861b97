"""One run of one command: its start, its time limit, its stop (TERM, then KILL), and its end.

A run is over when its command has exited and no process that it started is alive. To stop a run,
its processes get TERM (and go on, because they may be stopped), then, after the grace, KILL until
none is left. A control group, if there is one, decides what is alive and what was used.
"""

import os
import signal
from enum import Enum, auto
from typing import NamedTuple

from queued.core import times
from queued.core.model import Outcome
from queued.core.runs import Ending
from queued.service.ipc.messages import Run
from queued.service.ipc.run_notes import RunNote
from queued.service.linux.cgroup import Cgroup, Used
from queued.service.linux.run_mark import RunMark
from queued.service.worker import spawn
from queued.service.worker.output_streams import OutputStreams
from queued.service.worker.process_tree import ProcessTree
from queued.service.worker.suspension import Suspension
from queued.service.worker.time_limit import TimeLimit, limit_of

_KILL_AGAIN_S = 0.02  # first wait while a process still forks, or has not ended after KILL
_KILL_AGAIN_MAX_S = 1.0
_STUCK_S = 10.0
_SPAWN_AGAIN_S = 0.1  # first wait when the system refuses a process or memory
_SPAWN_AGAIN_MAX_S = 5.0


class Phase(Enum):
    """How far a run is."""

    STARTING = auto()  # not started yet; tried again if the system has no process or memory
    RUNNING = auto()
    TERMINATING = auto()
    KILLING = auto()
    OVER = auto()


class ExitStatus(NamedTuple):
    """How a command has exited: with a code or by a signal; both are None if it never ran."""

    code: int | None = None
    signal: str | None = None


class Execution:
    """One run, until it is over. The worker calls `reap` on SIGCHLD and `tick` at `next_s`."""

    phase = Phase.STARTING
    refused = 0  # how often the system had no process or memory for the command
    unkillable = False  # its processes may not be signalled, or KILL does not end them
    left: RunMark | None = None  # its mark, if it left processes on purpose
    disowned = False  # its claim is no longer in force: the run must end without a report
    _used = Used(None, None)
    _reason: Outcome | None = None
    _error: str | None = None
    _kills = 0
    _stuck_s = times.NEVER_S  # processes that are still alive then hang in a system call
    _refusal: int | None = None  # a pipe: see spawn.Started
    _never_ran = False  # the shell could not enter the directory, so the command did not run
    _limit: TimeLimit
    _warned = False  # whether the signal before the time limit was sent, or is never sent
    _started_ms: int
    _started_s: float
    _ended_s: float

    def __init__(  # noqa: PLR0913  all that it is made from
        self,
        run: Run,
        environment: spawn.Environment,
        group: Cgroup | None,
        *,
        stdin: bytes,
        note: RunNote,
        runs_lock: int | None,
        now_s: float,
    ) -> None:
        self.run = run
        self.group = group  # None once it is removed
        self.output = OutputStreams(run.output_limit)
        self.began_s = now_s  # on the monotonic clock, as all times here
        self._step_s = now_s  # when the next step of the phase is due
        self._environment = environment
        self._stdin = stdin
        self._note = note  # outlives the worker
        self._runs_lock = runs_lock
        self._tree = ProcessTree(environment)
        self._suspension = Suspension(self._tree)

    # What the worker calls

    @property
    def next_s(self) -> float:
        """When `tick` wants to be called next."""
        return min(self._step_s, self._suspension.next_s)

    def tick(self, now_s: float) -> None:
        """Makes the due step: the start, the end of the time limit, or the next step of a stop."""
        self._suspension.tick(now_s)
        if now_s < self._step_s:
            return
        match self.phase:
            case Phase.STARTING:
                self._start(now_s)
            case Phase.RUNNING if now_s < self._limit.end_s:
                self._warn()
            case Phase.RUNNING:
                self.stop(Outcome.TIMEOUT, now_s, error=self._limit.error)
            case Phase.TERMINATING | Phase.KILLING:
                self._kill(now_s)

    def stop(self, reason: Outcome, now_s: float, *, error: str | None = None) -> None:
        """Ends the run for this reason, unless it has already ended or is ending."""
        if self.phase is Phase.STARTING:
            self._reason, self._error = reason, error
            self._finish(now_s)
            return
        self.reap(now_s)  # if it has just exited by itself, that is its ending
        if self.phase is Phase.RUNNING:
            self._reason, self._error = reason, error
            self._terminate(now_s)

    def signal(self, name: str) -> None:
        """Sends a signal, whose name is without `SIG`, to the processes of a run that goes on."""
        wakes = name == "CONT" and self._suspension.active  # what only the end of it may do
        if self.phase is Phase.RUNNING and not wakes:
            self._suspension.on_signal(name)
            self._tree.signal(signal.Signals[f"SIG{name}"])

    def suspend(self, now_s: float, *, wanted: bool) -> None:
        """Freezes a run that goes on, or lets it go on if it is not `wanted` any more."""
        if self.phase is Phase.RUNNING:
            self.reap(now_s)  # a command that has just exited leaves nothing to freeze
        if self.phase is not Phase.RUNNING or wanted is self._suspension.active:
            return
        self._suspension.begin(self.group, now_s) if wanted else self._suspension.end(now_s)
        self._set_limit()

    def read_clock(self) -> None:
        """Sets its time limit anew, because the wall clock was set or the machine has slept."""
        if self.phase is Phase.RUNNING:
            self._set_limit()

    def end_grace(self, now_s: float) -> None:
        """Kills the run without further delay if it is being terminated."""
        if self.phase is Phase.TERMINATING:
            self._step_s = now_s

    def reap(self, now_s: float) -> None:
        """Collects dead children: the command and its orphans, which are the worker's children."""
        tree = self._tree
        running = tree.status is None
        childless = tree.reap()
        if tree.status is None or self.phase is Phase.OVER:
            return
        if running:
            self._ended_s = now_s
            self._read_refusal()
        self._on_exit(now_s, childless=childless)

    def pids(self) -> list[int]:
        """Returns the pids of what keeps it from being over, as a scan of /proc shows them."""
        return self._tree.lasting()

    def ending(self) -> Ending:
        """Returns how the run ended. Call it only in the phase OVER."""
        tree, output = self._tree, self.output
        exited = ExitStatus() if tree.status is None or self._never_ran else _decode(tree.status)
        cpu_ms, peak_kib = self._used
        ran_ms = round((self._ended_s - self._started_s) * 1000)
        since_ms = round((times.monotonic_s() - self._ended_s) * 1000)
        return Ending(
            self._reason or (Outcome.SIGNAL if exited.signal else Outcome.EXIT),
            exited.code,
            exited.signal,
            self._error,
            self._started_ms,
            self._started_ms + ran_ms,
            ran_ms,
            round(tree.cpu_s * 1000) if cpu_ms is None else cpu_ms,
            peak_kib or tree.peak_kib or None,
            *output.totals,
            output.last_bytes,
            times.boot_ms() - since_ms,
        )

    # How it goes on

    def _start(self, now_s: float) -> None:
        run, tree = self.run, self._tree
        self._started_ms, self._started_s = times.now_ms(), now_s
        self._set_limit()
        self._warned = self._limit.warn_s == times.NEVER_S
        if run.expires_ms is not None and run.expires_ms <= self._started_ms:
            self._reason, self._error = Outcome.EXPIRED, "not started in time"
            self._finish(now_s)
            return
        if self._limit.end_s <= now_s:
            self._reason, self._error = Outcome.TIMEOUT, self._limit.error
            self._finish(now_s)
            return
        tree.starting()
        self._note.record_starting(run.key.token)
        try:
            started = spawn.start(run, self._environment, self.group, self._runs_lock, self._stdin)
        except spawn.TemporaryRefusalError:
            self._note.record_starting(0)
            delay = min(_SPAWN_AGAIN_S * 2**self.refused, _SPAWN_AGAIN_MAX_S)
            self.refused += 1
            self._step_s = now_s + delay
            return
        except OSError as error:
            self._reason, self._error = Outcome.SPAWN_ERROR, spawn.explain(error)
            self._finish(now_s)
            return
        tree.pid, self._refusal = started.pid, started.refusal
        self._note.record_pid(tree.pid)
        self.output.watch(started.output)
        self.phase = Phase.RUNNING
        if self.group is not None and self.group.memory:
            self._limit_memory(self.group, now_s)

    def _set_limit(self) -> None:
        """Sets the end of its time, and when `tick` is called for it."""
        self._limit = limit_of(
            self.run,
            started_s=self._started_s,
            now_ms=times.now_ms(),  # first: after a stop between both a deadline is not early
            now_s=times.monotonic_s(),
            suspended_s=self._suspension.length_s,
        )
        warn_s = times.NEVER_S if self._warned else self._limit.warn_s
        self._step_s = min(self._limit.end_s, warn_s)

    def _warn(self) -> None:
        """Sends the signal that warns of the time limit."""
        self._warned = True
        self._tree.signal(self._limit.warn_signal)
        self._step_s = self._limit.end_s

    def _read_refusal(self) -> None:
        """Reads from the shell whether it could enter the job's directory, and if not, why."""
        if self._refusal is None:
            return
        with open(self._refusal, "rb") as file:
            why = file.read()
        if why and self._reason is None:
            self._reason = Outcome.SPAWN_ERROR
            self._error = spawn.explain_directory(self.run, why)
            self._never_ran = True

    def _limit_memory(self, group: Cgroup, now_s: float) -> None:
        """Sets the memory limit of the control group; stops the run if that fails."""
        limit = (self.run.options.limits or {}).get("memory")
        try:
            if limit is not None:
                group.limit_memory(limit)
        except OSError as error:
            self._error = f"limits.memory cannot be enforced: {error.strerror}"
            self.stop(Outcome.SPAWN_ERROR, now_s)

    def _on_exit(self, now_s: float, *, childless: bool) -> None:
        """Ends the run after its command has exited, or terminates the processes that it left."""
        stay = bool(self.run.options.leave_children) and self._reason is None
        if stay:
            self._suspension.end(now_s)
        if childless:
            if self._finish_cgroup() or stay:
                self._finish()
            elif self.phase is not Phase.KILLING:
                self._kill(now_s)  # processes that are not descendants moved into the group
        elif stay:
            self.left = self._tree.mark
            self._finish_cgroup()
            self._finish()
        elif self.phase is Phase.RUNNING:
            self._terminate(now_s)

    def _finish_cgroup(self) -> bool:
        """Reads the group's counters and removes it; returns False if a process in it is alive."""
        if self.group is None:
            return True
        self._used = self.group.used()
        if self._reason is None and self._was_sigkilled() and self.group.ran_out_of_memory():
            self._reason, self._error = Outcome.OOM, _memory_reason(self.run)
        if not self.group.remove():
            return False
        self.group = None
        return True

    def _was_sigkilled(self) -> bool:
        status = self._tree.status
        return status is not None and os.WTERMSIG(status) == signal.SIGKILL

    def _finish(self, ended_s: float | None = None) -> None:
        self.phase, self._step_s = Phase.OVER, times.NEVER_S
        if ended_s is not None:  # the command never ran
            self._started_ms, self._started_s, self._ended_s = times.now_ms(), ended_s, ended_s
            self._finish_cgroup()

    def _terminate(self, now_s: float) -> None:
        self.phase = Phase.TERMINATING
        self._step_s = now_s + self.run.kill_grace_s
        self._tree.signal(signal.SIGTERM, signal.SIGCONT)
        self._suspension.end(now_s)

    def _kill(self, now_s: float) -> None:
        if self.phase is not Phase.KILLING:
            self._stuck_s = now_s + _STUCK_S
        self.phase = Phase.KILLING
        if self.group is not None:
            self.group.kill()
        if not self._kill_children(now_s):
            return
        wait_s = min(_KILL_AGAIN_S * 2 ** min(self._kills, 16), _KILL_AGAIN_MAX_S)
        self._step_s = now_s + wait_s
        self._kills += 1
        self.unkillable = not self._tree.signal(signal.SIGKILL) or now_s >= self._stuck_s
        self.reap(now_s)

    def _kill_children(self, now_s: float) -> bool:
        """Kills what may fork too fast for a search; returns whether a search is useful now."""
        settled = self._tree.kill_children(lambda: self.reap(now_s))
        if self.phase is Phase.OVER:
            return False
        if not settled:
            self._step_s = now_s + _KILL_AGAIN_S
            self.unkillable = now_s >= self._stuck_s
        return settled


def _memory_reason(run: Run) -> str:
    """Returns the message for a run that the kernel killed for lack of memory."""
    limit = (run.options.limits or {}).get("memory")
    return "the machine has run out of it" if limit is None else f"it needs more than {limit} bytes"


def _decode(status: int) -> ExitStatus:
    """Decodes a wait status."""
    if not os.WIFSIGNALED(status):
        return ExitStatus(code=os.waitstatus_to_exitcode(status))
    number = os.WTERMSIG(status)
    try:
        return ExitStatus(signal=signal.Signals(number).name)
    except ValueError:
        return ExitStatus(signal=f"SIGRTMIN+{number - signal.SIGRTMIN}")
