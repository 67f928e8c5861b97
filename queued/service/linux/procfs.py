"""Reads processes from /proc, and signals them safely.

The kernel may reuse a pid once its process was collected. So a process is signalled through a
pidfd, and only if its start time is still the same after the pidfd was opened.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Collection, Iterator
from typing import NamedTuple

from queued.service.linux import libc

_PR_SET_CHILD_SUBREAPER = 36
_REAP_AT_ONCE = 5000
_HIDDEN = 0  # the start time of a process that /proc hides
_CGROUPS = "/sys/fs/cgroup"
# The pid is free, or was reused for a thread of another process.
_NO_PROCESS = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})


class RunName(NamedTuple):
    """The name of a run, as in the environment of its command."""

    job: bytes  # its id
    attempt: bytes  # the number of the run


class Process(NamedTuple):
    """A process as /proc shows it. Only pid and start time together identify it."""

    pid: int
    parent: int
    group: int
    session: int
    started: int  # since boot, in ticks; 0 for a process that /proc hides
    dead: bool  # all its threads have ended, and its parent has not collected it
    stopped: bool = False  # by a signal


def become_subreaper() -> None:
    """Makes this process, instead of init, the parent of its descendants that become orphans."""
    libc.checked(libc.C.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def read_process(pid: int) -> Process | None:
    """Returns the process with this pid; None if there is none, or /proc hides it (hidepid)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name of the program comes second, in brackets, and may contain anything.
    fields = text[text.rindex(b")") + 2 :].split()
    state, parent, group, session = fields[0], int(fields[1]), int(fields[2]), int(fields[3])
    # A process whose first thread has ended shows Z, and lives as long as another thread of it.
    dead = state in (b"Z", b"X") and int(fields[17]) <= 1
    return Process(pid, parent, group, session, int(fields[19]), dead, state == b"T")


def own_children() -> list[int]:
    """Returns the pids of the children of this process that are not collected.

    With hidepid, /proc shows these pids even if it hides the processes. A kernel without this file
    (CONFIG_PROC_CHILDREN) shows none. Call it only in a process with one thread.
    """
    return [int(pid) for pid in read("/proc/thread-self/children").split()]


def read_child(pid: int) -> Process | None:
    """Returns that child of this process, without its start time if /proc hides it."""
    return read_process(pid) or _hidden_process(pid, os.getpid())


def _hidden_process(pid: int, parent: int) -> Process | None:
    try:
        return Process(pid, parent, os.getpgid(pid), os.getsid(pid), _HIDDEN, dead=False)
    except ProcessLookupError:
        return None


def refresh(process: Process) -> Process | None:
    """Returns the same process as it is now; None if it is gone, also if its pid was reused."""
    if process.started == _HIDDEN:
        return _refresh_hidden(process)
    now = read_process(process.pid)
    return now if now is not None and now.started == process.started else None


def _refresh_hidden(process: Process) -> Process | None:
    if process.parent == os.getpid():  # no other one gets the pid of a child until it is collected
        return read_child(process.pid) if process.pid in own_children() else None
    if read_process(process.pid) is not None:
        return None
    now = _hidden_process(process.pid, process.parent)
    return now if now is not None and now.session == process.session else None


def is_alive(process: Process) -> bool:
    """Returns whether the process has not ended."""
    now = refresh(process)
    return now is not None and not now.dead


def all_processes() -> dict[int, Process]:
    """Returns all processes by pid, dead ones too."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def hidden_processes(shown: Collection[int]) -> list[Process]:
    """Returns the living processes that /proc hides and this process may signal.

    `shown` are the pids that /proc shows. Control groups show all pids to every user. The parents
    and the start times are not known.
    """
    if read_process(1) is not None:  # /proc hides nothing
        return []
    pids = grouped(_CGROUPS) - {0, *shown}  # 0: in no pid namespace below that of this process
    return [
        process
        for pid in pids
        if _may_signal(pid) and (process := _hidden_process(pid, 0)) is not None
    ]


def _may_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def descendants(*roots: int, without: Collection[int] = ()) -> list[Process]:
    """Returns the descendants of these pids, dead ones too, parents before children.

    Processes in `without` are left out, with their descendants. /proc is scanned once. If this
    process is among `roots`, its children are found even if /proc hides them.
    """
    processes = all_processes()
    if os.getpid() in roots:
        missing = (read_child(pid) for pid in own_children() if pid not in processes)
        processes |= {process.pid: process for process in missing if process is not None}
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        if process.pid not in without:
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    level = [child for root in roots for child in children.get(root, [])]
    while level:
        found += level
        level = [child for process in level for child in children.get(process.pid, [])]
    return found


def dead_child() -> int | None:
    """Returns the pid of a child that is dead and not collected; None if all are alive.

    Raises ChildProcessError if there is no child.
    """
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found.si_pid if found is not None else None


def stopped_child() -> int | None:
    """Returns the pid of a child that was stopped, once for each stop; None if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:
        return None
    return found.si_pid if found is not None else None


def reap_rounds() -> Iterator[int]:
    """Bounds a loop that collects dead children, because others may die as fast as it collects.

    If the loop comes to the bound, this process gets another SIGCHLD, so that it goes on later.
    """
    yield from range(_REAP_AT_ONCE)
    os.kill(os.getpid(), signal.SIGCHLD)


def reap_all() -> None:
    """Collects children that are dead, in `reap_rounds`."""
    with contextlib.suppress(ChildProcessError):
        for _ in reap_rounds():
            if (pid := dead_child()) is None:
                return
            os.waitpid(pid, 0)


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Signals the process; returns False if it is gone or may not be signalled."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            return False
        raise
    try:
        if refresh(process) is None:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def read(path: str) -> bytes:
    """Returns the content of a file of /proc; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def grouped(path: str) -> set[int]:
    """Returns the pids in a control group and in those below it, as far as they can be read."""
    files = [f"{group}/cgroup.procs" for group in directories(path)]
    return {int(line) for file in files for line in read(file).split()}


def directories(top: str) -> list[str]:
    """Returns a directory and those below it, however deep; each after the one that it is in."""
    found = [top]
    for path in found:
        with contextlib.suppress(OSError):
            found += subdirectories(path)
    return found


def subdirectories(path: str) -> list[str]:
    """Returns the directories in a directory. Raises OSError."""
    with os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def shows_files(pid: int) -> bool:
    """Returns whether this process may see the open files of another; True if that is gone."""
    try:
        os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        return False
    except OSError:
        return not _may_signal(pid)
    return True


def environment(pid: int) -> dict[bytes, bytes]:
    """Returns the environment that the process was started with; empty if it cannot be read."""
    text = read(f"/proc/{pid}/environ") or _environment_of_threads(pid)
    return dict(entry.split(b"=", 1) for entry in text.split(b"\0") if b"=" in entry)


def _environment_of_threads(pid: int) -> bytes:
    """Returns the environment as a living thread shows it, because the first may have ended."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return b""
    found = (read(f"/proc/{pid}/task/{thread}/environ") for thread in threads)
    return next((text for text in found if text), b"")
