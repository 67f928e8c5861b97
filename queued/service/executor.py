"""One run of one command: start, capture, time limit, the kill ladder, and what it left behind.

A run is over when its command has exited and nothing that it started is alive. What must end gets
TERM (and CONT, should it be stopped), the grace, then KILL until nothing is left. Descent decides
what belongs to the run: the worker is the subreaper of all of it.
"""

import contextlib
import errno
import os
import signal
from enum import Enum, auto
from resource import struct_rusage

from queued.core import times
from queued.core.model import Ending, Outcome
from queued.service import processes, spawn
from queued.service.channel import Piece, Run
from queued.service.output import CHUNK, Capture
from queued.service.processes import Process
from queued.service.spared import Spared

_AGAIN_S = 0.05  # how often KILL is repeated while something still forks or is slow to die
_SPAWN_AGAIN_S = 0.1  # first wait when the system has no process or memory to give
_SPAWN_AGAIN_MAX_S = 5.0
_PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


class Phase(Enum):
    """How far a run is."""

    STARTING = auto()  # not yet: the system refused for the moment
    RUNNING = auto()
    TERMINATING = auto()
    KILLING = auto()
    OVER = auto()


class Execution:
    """A run from its claim to its ending. Its owner calls it on SIGCHLD, output and deadlines."""

    def __init__(
        self, run: Run, environment: dict[str, str], spared: Spared, *, now_s: float
    ) -> None:
        self.run = run
        self.phase = Phase.STARTING
        self.pid: int | None = None
        self.pipes: dict[int, Capture] = {}
        self._environment = environment
        self._spared = spared
        self._captures = [Capture(1, run.output_limit)]
        if run.options.get("split"):
            self._captures.append(Capture(2, run.output_limit))
        self._started_ms = times.now_ms()
        self._started_s = now_s
        self._exited_s: float | None = None
        self._status: int | None = None
        self._reason: Outcome | None = None
        self._error: str | None = None
        self._next_s = now_s  # when `tick` has something to do
        self._refusals = 0
        self._cpu_s = 0.0
        self._peak_kib = 0

    # What its owner calls

    def tick(self, now_s: float) -> None:
        """Does what is due: the start, the end of the time limit, the next step of the ladder."""
        if now_s < self._next_s:
            return
        match self.phase:
            case Phase.STARTING:
                self._start(now_s)
            case Phase.RUNNING:
                self.stop(Outcome.TIMEOUT, now_s)
            case Phase.TERMINATING | Phase.KILLING:
                self._kill(now_s)

    @property
    def deadline_s(self) -> float:
        """When `tick` wants to be called next, on the monotonic clock."""
        return self._next_s

    def stop(self, reason: Outcome, now_s: float) -> None:
        """Ends the run for this reason, unless it has ended or is ending already."""
        if self.phase is Phase.STARTING:
            self._reason, self.phase = reason, Phase.OVER
            self._exited_s = now_s
            return
        self.reap(now_s)  # it may have exited in this very moment: then that is its ending
        if self.phase is Phase.RUNNING:
            self._reason = reason
            self._terminate(now_s)

    def reap(self, now_s: float) -> None:
        """Collects dead children: the command, and orphans of it that became ours."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                childless = True
                break
            if pid == 0:
                childless = False
                break
            self._account(usage)
            if pid == self.pid:
                self._status, self._exited_s = status, now_s
        if self._status is not None and self.phase is not Phase.OVER:
            self._exited(now_s, childless=childless)

    def read(self, descriptor: int) -> bool:
        """Takes what the pipe holds, one read of it; False once it is closed on the other side."""
        try:
            content = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return True
        if content:
            self.pipes[descriptor].append(content)
        return bool(content)

    def close(self, descriptor: int) -> None:
        """Closes a pipe that is at its end."""
        del self.pipes[descriptor]
        os.close(descriptor)

    def drain(self) -> None:
        """Takes what the pipes hold now, and closes them; call it once the run is over.

        A process that was left alive on purpose may go on printing: a mebibyte is enough.
        """
        for descriptor, capture in self.pipes.items():
            end = capture.total + (1 << 20)
            with contextlib.suppress(BlockingIOError):
                while capture.total < end and (content := os.read(descriptor, CHUNK)):
                    capture.append(content)
            os.close(descriptor)
        self.pipes.clear()

    def pieces(self, limit: int) -> list[Piece]:
        """Output that was not handed on yet, about `limit` bytes of it."""
        taken: list[Piece] = []
        size = 0
        for capture in self._captures:
            while size < limit and (piece := capture.take()) is not None:
                taken.append(piece)
                size += len(piece.chunk.content)
        return taken

    @property
    def waiting(self) -> int:
        """Bytes of output that were not handed on."""
        return sum(capture.waiting for capture in self._captures)

    @property
    def unacknowledged(self) -> int:
        """Pieces that were handed on and are not yet durable."""
        return sum(capture.unacknowledged for capture in self._captures)

    def stored(self, stream: int, end: int) -> None:
        """The stream's output is durable up to here."""
        for capture in self._captures[stream - 1 : stream]:
            capture.acknowledge(end)

    def rewind(self) -> None:
        """Another dispatcher: hand on again what was not durable."""
        for capture in self._captures:
            capture.rewind()

    def ending(self) -> Ending:
        """How it ended; only once it is over."""
        exit_code = signal_name = None
        if self._status is not None:
            exit_code, signal_name = _decode(self._status)
        own = Outcome.SIGNAL if signal_name else Outcome.EXIT
        ended_s = self._exited_s if self._exited_s is not None else self._started_s
        ran_ms = max(0, round((ended_s - self._started_s) * 1000))
        shown = next((c.recent for c in reversed(self._captures) if c.recent), b"")
        return Ending(
            outcome=self._reason or own,
            exit_code=exit_code,
            signal=signal_name,
            error=self._error,
            started_ms=self._started_ms,
            ended_ms=self._started_ms + ran_ms,
            ran_ms=ran_ms,
            cpu_ms=round(self._cpu_s * 1000),
            peak_kib=self._peak_kib or None,
            stdout_bytes=self._captures[0].total,
            stderr_bytes=self._captures[1].total if len(self._captures) > 1 else 0,
            tail=shown,
        )

    # How it goes on

    def _start(self, now_s: float) -> None:
        self._started_ms, self._started_s = times.now_ms(), now_s
        try:
            self.pid, pipes = spawn.start(self.run, self._environment)
        except OSError as error:
            if error.errno in _PASSING:
                delay = min(_SPAWN_AGAIN_S * 2**self._refusals, _SPAWN_AGAIN_MAX_S)
                self._refusals += 1
                self._next_s = now_s + delay
                return
            self._error = _spawn_error(error, self.run)
            self._reason, self.phase, self._exited_s = Outcome.SPAWN_ERROR, Phase.OVER, now_s
            return
        self.pipes[pipes.stdout] = self._captures[0]
        if pipes.stderr is not None:
            self.pipes[pipes.stderr] = self._captures[1]
        self.phase = Phase.RUNNING
        self._next_s = now_s + self.run.timeout_s if self.run.timeout_s else float("inf")

    @property
    def refused(self) -> int:
        """How often the system had no process or memory to start it with."""
        return self._refusals

    def _exited(self, now_s: float, *, childless: bool) -> None:
        """The command is gone; what it left is terminated, if it must not stay."""
        if childless:
            self._over()
        elif self.run.options.get("leave_children") and self._reason is None:
            self._spared.add(self._left())
            self._over()
        elif self._spared and not self._left():
            self._over()
        elif self.phase is Phase.RUNNING:
            self._terminate(now_s)

    def _over(self) -> None:
        self.phase, self._next_s = Phase.OVER, float("inf")

    def _terminate(self, now_s: float) -> None:
        self.phase = Phase.TERMINATING
        self._next_s = now_s + self.run.kill_grace_s
        left = self._left()
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._signal(left, number)

    def _kill(self, now_s: float) -> None:
        self.phase = Phase.KILLING
        self._next_s = now_s + _AGAIN_S
        self._signal(self._left(), signal.SIGKILL)
        self.reap(now_s)

    def _left(self) -> list[Process]:
        """What is alive of this run; a zombie waits for a parent, which is told to end.

        One look can miss a process whose parent forked it and ended meanwhile; hence a few.
        """
        for _ in range(3):
            living = self._spared.without(processes.descendants(os.getpid()))
            left = [process for process in living if not process.zombie]
            if left:
                return left
        return []

    def _signal(self, left: list[Process], number: signal.Signals) -> None:
        """First whole groups, so that none forks away; a group is pinned by a child of ours."""
        worker = os.getpid()
        groups = {process.group for process in left if process.parent == worker}
        for group in groups - {os.getpgid(0)}:
            if any(p.group == group and p.parent == worker and _ours(p) for p in left):
                _signal_group(group, number)
        for process in left:
            if process.group not in groups:
                processes.send(process, number, lambda now, was=process: now.session == was.session)

    def _account(self, usage: struct_rusage) -> None:
        self._cpu_s += usage.ru_utime + usage.ru_stime
        self._peak_kib = max(self._peak_kib, usage.ru_maxrss)


def _ours(process: Process) -> bool:
    """Whether it is still our child: then its pid and its group cannot have been used again."""
    now = processes.look(process.pid)
    return now is not None and now.started == process.started and now.parent == os.getpid()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _decode(status: int) -> tuple[int | None, str | None]:
    """Exit code or the name of the signal, from a wait status."""
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status), None
    number = os.WTERMSIG(status)
    try:
        return None, signal.Signals(number).name
    except ValueError:
        return None, f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _spawn_error(error: OSError, run: Run) -> str:
    cwd = run.options.get("cwd")
    if cwd is not None and error.filename in (cwd, os.fsencode(str(cwd))):
        return f"the directory {cwd} cannot be entered: {error.strerror}"
    return f"the command cannot be started: {error.strerror}"
