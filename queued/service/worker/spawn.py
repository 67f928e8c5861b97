"""Starts `sh -c COMMAND` in a new session, with the job's environment, directory and limits."""

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from queued.core.job_options import JobOptions
from queued.core.runs import Key
from queued.service.ipc.messages import Run
from queued.service.linux.cgroup import Cgroup, RunCgroups
from queued.service.linux.run_mark import INSTANCE, LEAVE_CHILDREN
from queued.service.log import Log

SHELL = "/bin/sh"
# All are reset to their defaults: for each that is not listed, glibc makes a system call more.
_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

_ATTEMPT_BITS = 20  # of QUEUED_FENCE; more runs of one job have the same number

Environment = dict[bytes, bytes]
FileActions = list[tuple[int, int, int]]  # _DUP2, a descriptor of the worker, its number there
_DUP2 = os.POSIX_SPAWN_DUP2

# Variables that concern the service alone.
_OURS = frozenset(
    {
        b"NOTIFY_SOCKET", b"INVOCATION_ID", b"JOURNAL_STREAM", b"SYSTEMD_EXEC_PID", b"MANAGERPID",
        b"MEMORY_PRESSURE_WATCH", b"MEMORY_PRESSURE_WRITE", b"CREDENTIALS_DIRECTORY",
        b"RUNTIME_DIRECTORY", b"STATE_DIRECTORY", b"CACHE_DIRECTORY", b"LOGS_DIRECTORY",
        b"CONFIGURATION_DIRECTORY", b"MAINPID",
    }
)  # fmt: skip
_OUR_PREFIXES = (b"QUEUECTL_", b"QUEUED_", b"WATCHDOG_", b"LISTEN_", b"FDSTORE", b"SUPERVISOR_")
_CLEAN = (b"PATH", b"HOME", b"USER", b"LANG")
_RESOURCES = {
    "memory": resource.RLIMIT_AS,
    "cpu": resource.RLIMIT_CPU,
    "files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
}


# The system is short of processes, memory or descriptors.
_TEMPORARY = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class TemporaryRefusalError(Exception):
    """The system could not start the command now. A later try may succeed."""


class Pipes(NamedTuple):
    """The reading ends of a command's output; `stderr` is None if both streams go to `stdout`."""

    stdout: int
    stderr: int | None = None


def inheritable(environment: Mapping[bytes, bytes], instance: str) -> Environment:
    """Returns the environment without the service's own variables, with the instance's mark."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _OURS and not name.startswith(_OUR_PREFIXES)
    }
    return {**kept, INSTANCE: instance.encode()}


def environment_of(run: Run, base: Environment, worker: int) -> Environment:
    """Returns the command's environment: `base` or a part of it, the job's variables, the marks."""
    chosen = {name: base[name] for name in _CLEAN if name in base} if run.clean else base
    return {
        **chosen,
        **_variables_of(run.options),
        b"QUEUED_JOB_ID": run.id.encode(),
        b"QUEUED_ATTEMPT": b"%d" % run.key.attempt,
        b"QUEUED_FENCE": b"%d" % _fence(run.key),
        b"QUEUED_MAX_RETRIES": b"%d" % run.max_retries,
        b"QUEUED_QUEUE": run.queue.encode(),
        b"QUEUED_WORKER": b"%d" % worker,
        INSTANCE: base[INSTANCE],
    }


def _fence(key: Key) -> int:
    """Returns a larger number than for earlier runs of this job and all runs of older jobs."""
    return key.job << _ATTEMPT_BITS | min(key.attempt, (1 << _ATTEMPT_BITS) - 1)


def _variables_of(options: JobOptions) -> Environment:
    given = options.env or {}
    own = {os.fsencode(name): os.fsencode(value) for name, value in given.items()}
    if options.leave_children:
        own[LEAVE_CHILDREN] = b"1"
    return own


def cgroup_of(run: Run, cgroups: RunCgroups | None, log: Log) -> Cgroup | None:
    """Creates a control group for the run; returns None if there can be none."""
    if cgroups is None:
        return None
    try:
        return cgroups.create(run.id, run.key.attempt)
    except OSError as error:
        log.warning("job.cgroup_failed", job=run.id, error=str(error))
        return None


class Started(NamedTuple):
    """A command that was started."""

    pid: int
    output: Pipes
    # A pipe in which the shell writes why it could not enter the job's directory, if it could not.
    refusal: int | None = None


def start(
    run: Run,
    environment: Environment,
    group: Cgroup | None,
    runs_lock: int | None,
    stdin: bytes = b"",
) -> Started:
    """Starts the command, in the control group if there is one. Leaves nothing open if it raises.

    A group that can limit memory does so instead of the process's own limit. The command and all
    that it starts inherit `runs_lock`, unless the job may leave processes.

    Raises TemporaryRefusalError, or an OSError that is the fault of the command. Standard input is
    a file in memory with `stdin`, or if that is empty the worker's own, /dev/null. All other
    descriptors of the worker close on exec.
    """
    options = run.options
    reads: list[int] = []
    writes: list[int] = []
    enters = options.cwd is not None
    try:
        for _ in range(1 + bool(options.split) + enters):
            _pipe(reads, writes)
        actions = _file_actions(options, writes, runs_lock)
        if stdin:
            writes.append(_in_memory(stdin))
            actions.append((_DUP2, writes[-1], 0))
        pid = _start(run, environment, group, actions)
    except OSError as error:
        for descriptor in (*reads, *writes):
            os.close(descriptor)
        if error.errno in _TEMPORARY and not isinstance(error, _OwnFaultError):
            raise TemporaryRefusalError from None
        raise
    for descriptor in writes:
        os.close(descriptor)
    refusal = reads.pop() if enters else None
    return Started(pid, Pipes(*reads), refusal)


def _file_actions(options: JobOptions, writes: list[int], runs_lock: int | None) -> FileActions:
    """Returns which descriptors of the worker the command gets."""
    actions = [(_DUP2, writes[0], 1), (_DUP2, writes[1 if options.split else 0], 2)]
    if options.cwd is not None:
        actions.append((_DUP2, writes[-1], _REFUSAL))
    if runs_lock is not None and not options.leave_children:
        actions.append((_DUP2, runs_lock, runs_lock))
    return actions


def _in_memory(content: bytes) -> int:
    """Returns a descriptor of a file that has no name and ends with its last descriptor."""
    descriptor = os.memfd_create("stdin")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _pipe(reads: list[int], writes: list[int]) -> None:
    read, write = os.pipe2(os.O_CLOEXEC)
    reads.append(read)
    writes.append(write)
    os.set_blocking(read, False)


def _start(run: Run, environment: Environment, group: Cgroup | None, actions: FileActions) -> int:
    begin = _spawn
    if _needs_fork(run.options):
        begin = partial(_fork, limits_of(run, group))
    mask = run.options.umask
    own_mask = None if mask is None else os.umask(int(mask, 8))
    try:
        if group is None:
            return begin(run, environment, actions)
        with group:
            return begin(run, environment, actions)
    finally:
        if own_mask is not None:
            os.umask(own_mask)


def limits_of(run: Run, group: Cgroup | None) -> dict[str, int]:
    """Returns the limits to set on the command's own process."""
    limits = run.options.limits or {}
    if group is None or not group.memory:
        return limits
    return {name: value for name, value in limits.items() if name != "memory"}


def explain(error: OSError) -> str:
    """Returns the message for a command that could not be started."""
    return f"the command cannot be started: {error.strerror}"


def explain_directory(run: Run, why: bytes) -> str:
    """Returns the message for a directory that the shell could not enter."""
    reason = why.decode().strip()
    return f"the directory {run.options.cwd} cannot be entered: {reason}"


def _needs_fork(options: JobOptions) -> bool:
    """Returns whether the job asks for something that posix_spawn cannot do."""
    return options.nice is not None or options.limits is not None


_REFUSAL = 3  # the pipe's number in the shell; dash takes only single digits

# The shell enters the directory, not the child between vfork and exec: on a file system that hangs
# the worker would hang with that child. The second shell runs the command as it would without it.
_ENTER = """\
cd -P -- "$1" 2>/dev/null || {
    if [ ! -e "$1" ]; then echo No such file or directory
    elif [ ! -d "$1" ]; then echo Not a directory
    else echo Permission denied
    fi >&3
    exit 1
}
unset OLDPWD
exec 3>&-
[ "$3" = 0 ] || ulimit -n "$3"
exec /bin/sh -c -- "$2" sh
"""
_ENTERING_FILES = 16  # that shell needs more descriptors than a command may be limited to


class _OwnFaultError(OSError):
    """The child could not apply what the job asks for. Another try would fail, too."""


def _arguments(run: Run) -> list[str]:
    """Returns the arguments of the shell. `--` keeps a command like `-x` from being an option."""
    cwd = run.options.cwd
    if cwd is not None:
        files = (run.options.limits or {}).get("files", 0)
        return ["sh", "-c", _ENTER, "sh", cwd, run.command, str(files)]
    return ["sh", "-c", *(["--"] if run.command[:1] in ("-", "+") else []), run.command]


def _spawn(run: Run, environment: Environment, actions: FileActions) -> int:
    return os.posix_spawn(
        SHELL,
        _arguments(run),
        environment,
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=_SIGNALS,
    )


def _fork(limits: dict[str, int], run: Run, environment: Environment, actions: FileActions) -> int:
    """Starts a job with niceness or limits; unlike posix_spawn, this forks the whole worker."""
    nice = run.options.nice
    if run.options.cwd is not None and "files" in limits:
        limits = {**limits, "files": max(limits["files"], _ENTERING_FILES)}

    def prepare() -> None:
        for _, own, there in actions:
            # This does not hit the pipe that subprocess made later, because `there` was in use.
            os.dup2(own, there)
            os.set_inheritable(there, True)  # noqa: FBT003  its signature
        if nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        for name, value in limits.items():
            resource.setrlimit(_RESOURCES[name], (value, value))

    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the child inherits the mask
    try:
        child = subprocess.Popen(  # noqa: S603 - running commands is what we are for
            _arguments(run),
            executable=SHELL,
            env=environment,
            close_fds=False,  # all others are close-on-exec
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - one thread
        )
    except subprocess.SubprocessError:
        wanted = f"niceness {nice} or limits {limits}"
        raise OSError(errno.EPERM, f"{wanted} are not allowed to this user") from None
    except OSError as error:
        if error.filename is None:
            raise  # the fork itself failed
        raise _OwnFaultError(error.errno, error.strerror, error.filename) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    child.returncode = 0  # the worker reaps it with wait4; Popen must not try
    return child.pid
