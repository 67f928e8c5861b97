"""Finds the services that serve the database now, and warns the user if there is none."""

import math
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from queued.core import labels
from queued.core.errors import QueuedError
from queued.core.model import Label
from queued.core.times import local_clock, monotonic_s, now_ms
from queued.ctl.render import print_err
from queued.store import paths

if TYPE_CHECKING:
    from queued.core.model import Instance
    from queued.core.records import Job, Queue
    from queued.ctl.context import Context

_WARN_AFTER_S = 2.0
_ENDS = {"after": "complete", "after_any": "end", "after_fail": "become dead"}
_SHOWN = 3  # jobs for which another one waits, and reasons
_START_FIELD = 19  # of those that follow the name in /proc/PID/stat


def live_instances(context: "Context") -> "list[Instance]":
    """Returns the services that live; prints a warning for each of which that cannot be told.

    The latter are among those that are returned.
    """
    return [instance for instance in context.store.instances() if may_live(context, instance)]


def may_live(context: "Context", instance: "Instance") -> bool:
    """Returns whether a service lives. Prints a warning and returns True if that is not known."""
    try:
        return context.engine.is_alive(instance)
    except OSError as error:
        told = f"queuectl: cannot tell whether {instance.id} (pid {instance.pid}) lives"
        print_err(f"{told}: {error.filename}: {error.strerror}")
        return True


def command_pids(instance_files: str, instance: str) -> dict[int, int]:
    """Returns the pids of the commands that an instance runs, by the token of the claim.

    They are read from its lock file. If that is of another machine or container, or if this user
    may not read it, the result is empty.
    """
    from queued.core import run_note_layout
    from queued.store import instance_lock

    try:
        descriptor = instance_lock.open_lock(instance_files, instance)
    except OSError:
        descriptor = None
    if descriptor is None:
        return {}
    with open(descriptor, "rb") as file:
        if instance_lock.is_copy(file.fileno()):
            return {}
        notes = run_note_layout.parse(file.read(run_note_layout.SIZE)) or {}
    return {
        token: session.leader
        for token, session in notes.items()
        if (started := _start_ticks(session.leader)) is not None
        and session.led_by(session.leader, started)
    }


def is_frozen(instance: "Instance") -> bool:
    """Returns whether a service of this host was stopped by a signal, as by `kill -STOP`."""
    here = instance.host == os.uname().nodename
    return here and _stat(instance.pid)[:1] in ([b"T"], [b"t"])


def _start_ticks(pid: int) -> int | None:
    """Returns when the process was started, in clock ticks since boot; None if it is gone."""
    fields = _stat(pid)
    return int(fields[_START_FIELD]) if fields else None


def _stat(pid: int) -> list[bytes]:
    """Returns the fields of /proc/PID/stat from the state on; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].split()
    except OSError:
        return []


def no_service(program: str) -> str:
    """Returns the warning. `program`: how `queuectl` was started, with `--db` if it was given."""
    return f"queuectl: no service runs on this database; start one with: {program} worker start"


def say_no_service(context: "Context") -> None:
    """Prints the warning, and which database the system's service uses if the user may write it."""
    print_err(no_service(context.program))
    system = paths.SYSTEM_DATABASE
    if context.database != system and os.access(system, os.W_OK):
        print_err(f"queuectl: the service of the system runs on --db {system}")


class BlockReasons:
    """Tells why due jobs do not start, by the services that live at the time of the first call."""

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._keys: dict[str, str] = {}  # why jobs of a key wait

    @cached_property
    def _drained(self) -> dict[str, int]:
        return self._context.store.drained_hosts()

    @cached_property
    def _services(self) -> "list[Instance]":
        return live_instances(self._context)

    @cached_property
    def _set(self) -> "Sequence[Queue]":
        return self._context.store.queues.all()

    @cached_property
    def _used(self) -> dict[str, int]:
        return self._context.store.queues.used_places()

    @cached_property
    def _queues(self) -> dict[str, str]:
        names = [one.name for one in self._set]
        windows = self._context.store.queues.start_windows(names, now_ms=now_ms())
        next_ms = {name: window.next_ms for name, window in windows.items()}
        return {
            one.name: one.obstacle(self._used.get(one.name, 0), next_ms.get(one.name))
            for one in self._set
        }

    @cached_property
    def places(self) -> dict[str, str]:
        """Of each limited queue: the places that its running jobs take, and its limit: `2/3`."""
        limits = {one.name: one.concurrency for one in self._set if one.concurrency is not None}
        return {name: f"{self._used.get(name, 0)}/{limit}" for name, limit in limits.items()}

    @cached_property
    def suspended(self) -> frozenset[str]:
        """The queues whose running jobs are frozen."""
        return frozenset(queue.name for queue in self._set if queue.suspended_ms is not None)

    def of_queue(self, name: str) -> str:
        """Returns why no ready job of a queue starts: a pause, a limit or its rate; or empty."""
        return self._queues.get(name, "")

    def of_job(self, job: "Job") -> str:
        """Returns what the job waits for, why it is not claimed, or that its run is suspended."""
        match job.label:
            case Label.BLOCKED:
                return self._waits(job) or self._of_key(job.key)
            case Label.PROCESSING:
                return "suspended" if job.queue in self.suspended else ""
            case Label.PENDING:
                return self.of(job.requires) or self.of_queue(job.queue)
        return ""

    def _waits(self, job: "Job") -> str:
        found = self._context.store.dependencies(job.seq, limit=_SHOWN + 1)
        waiting = [
            f"{one.id} to {_ENDS[one.condition]}" for one in found if one.status == "waiting"
        ]
        shown = ", ".join(waiting[:_SHOWN]) + (", ..." if waiting[_SHOWN:] else "")
        return f"waits for {shown}" if waiting else ""

    def _of_key(self, key: str | None) -> str:
        if key is None:
            return ""
        if key not in self._keys:
            self._keys[key] = self._full_rate(key) or self._used_key(key)
        return self._keys[key]

    def _full_rate(self, key: str) -> str:
        window = self._context.store.queues.key_window(key)
        if window is None:
            return ""
        rate, next_ms = window
        return f"its key {key} has reached its rate {rate}: next start at {local_clock(next_ms)}"

    def _used_key(self, key: str) -> str:
        users = self._context.store.queues.key_users(key)
        used_by = " and ".join(filter(None, (", ".join(users[:-1]), *users[-1:])))
        return f"its key {key} is in use by {used_by}" if users else ""

    def of(self, required: frozenset[str]) -> str:
        """Returns why no service claims a ready job that requires these labels; empty if one does.

        It is also empty for a job that requires none while no service runs.
        """
        if not required and not self._drained:
            return ""
        services = [(one.host, labels.split(one.labels)) for one in self._services]
        if any(host not in self._drained and required <= own for host, own in services):
            return ""
        if hosts := sorted({host for host, own in services if required <= own}):
            return f"{' and '.join(hosts)} {'is' if len(hosts) == 1 else 'are'} drained"
        missing = labels.missing(required, [own for _, own in services])
        return f"no live host has {' and '.join(sorted(missing))}" if missing else ""


def some_of(reasons: "Sequence[str]") -> list[str]:
    """Returns the first reasons why jobs do not start, and how many more there are."""
    more = len(reasons) - _SHOWN
    return [*reasons[:_SHOWN], *([f"and {more} more reasons"] if more > 0 else [])]


def warn_without_service(context: "Context", required: Iterable[frozenset[str]] = ()) -> None:
    """Prints a warning if no service runs, or if no service has all labels of one `required` set.

    An error of this check is printed, too, and not raised.
    """
    try:
        if not live_instances(context):
            say_no_service(context)
            return
        reasons = BlockReasons(context)
        for reason in some_of(sorted({*map(reasons.of, required)} - {""})):
            print_err(f"queuectl: {reason}")
    except (QueuedError, OSError) as error:
        print_err(f"queuectl: cannot tell whether a service runs: {error}")


class ServiceWarning:
    """Warns once that no service runs, after a command has been waiting for two seconds."""

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._due_s = monotonic_s() + _WARN_AFTER_S

    def remaining_s(self) -> float:
        """Returns the time until the check; infinite when it has been made."""
        return max(0.0, self._due_s - monotonic_s())

    def check(self) -> None:
        """Makes the check if it is due."""
        if monotonic_s() >= self._due_s:
            self._due_s = math.inf
            warn_without_service(self._context)
