"""Cleans up after dead instances: kills their leftover processes and settles their claims.

An instance is dead if its lock is free, and only then. The service that gets the lock cleans up,
and holds the lock until the end, so that no other service does the same.
"""

import os

from queued.core import times
from queued.core.model import Instance
from queued.core.run_note_layout import CommandSession
from queued.core.runs import Claim
from queued.core.settings_in_force import Settings
from queued.service.dispatcher import job_log
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.lease_keeper import LeaseObserver
from queued.service.dispatcher.leftovers import RunsLock, kill_leftovers, run_processes
from queued.service.dispatcher.turn import TurnRunner
from queued.service.dispatcher.turn_results import ClaimLoss, Turn
from queued.service.ipc import run_notes
from queued.service.linux import procfs
from queued.service.linux.cgroup import RunCgroups
from queued.service.log import Log
from queued.store import instance_lock
from queued.store.ledger import Ledger

_RETRY_S = 5.0
_NOT_KILLED = (
    "end these processes: the service lacks the permission, or they hang in a system call. If none"
    " is listed, a process of another user or container has the lock file open; `fuser -v LOCK`,"
    " run as root outside of containers, lists it. Tried again every 5 s"
)
_LIVES = (
    "nothing, if this database is a copy of one that is served: these processes belong to that"
    " service, and the jobs that ran when the copy was made wait until it ends; cancel the jobs if"
    " the copy shall not run them. Tried again every 5 s"
)
_NO_ROW = (
    "it lives and has no row in this database, as after a restore of an older backup; it may run"
    " any job of this database, so no job is started"
)
_KILLING_S = 0.5
_KILLING_AGAIN_S = 0.05  # jobs wait meanwhile, and the first try was in vain


class OtherInstances:
    """The other instances of this database, and their open lock files."""

    def __init__(self, instance_files: str, own: Instance) -> None:
        self._instance_files = instance_files
        self._own = own
        self._files: dict[str, int | None] = {}
        # Why it is not known of an instance whether it lives, by its id; as `lock_dead` found it.
        self.undecided: dict[str, str] = {}

    def lock_dead(self, registered: list[Instance]) -> list[Instance]:
        """Locks the lock files of the dead instances among `registered` and returns these.

        Among them are instances whose lock file is gone; see `holders_anywhere`.
        """
        others = {instance.id: instance for instance in registered if instance.id != self._own.id}
        self.undecided = {}
        for name in self._files.keys() - others.keys():
            self._close(name)
        for name in others:
            if self._files.get(name) is None:
                # Kept open, because watchers take the closing of a lock file for a death.
                self._files[name] = self._open(name)
        return [instance for name, instance in others.items() if self._is_dead(name)]

    def unregistered(self, registered: list[Instance]) -> list[Instance]:
        """Returns the instances that have a lock file here, and no row among `registered`.

        A copy of a lock file is left out, because it does not show whether its instance lives. With
        leases the list is empty: an instance without a row was fenced, and ended its runs before.
        """
        if self._own.lease_s:
            return []
        known = {self._own.id, *(instance.id for instance in registered)}
        names = [n for n in instance_lock.with_lock_file(self._instance_files) if n not in known]
        for name in names:
            self._files[name] = self._open(name)
        found = [self._own._replace(id=name) for name in names]
        return [instance for instance in found if self.has_lock_file(instance)]

    def shares_locks(self, other: Instance) -> bool:
        """Returns whether the lock file of an instance tells whether it lives."""
        return other.host_id == self._own.host_id or other.id == self._own.id

    def _open(self, name: str) -> int | None:
        try:
            return instance_lock.open_lock(self._instance_files, name)
        except OSError as error:
            self.undecided[name] = f"cannot open its lock file: {error.strerror}"
            return None

    def _is_dead(self, name: str) -> bool:
        descriptor = self._files[name]
        if name in self.undecided:
            return False
        if descriptor is None or instance_lock.try_lock(descriptor):
            return True
        if not instance_lock.try_lock(descriptor, shared=True):
            return False
        # No instance has the lock any more. Only the exclusive lock keeps other services away.
        if instance_lock.try_lock(descriptor):
            return True
        self.undecided[name] = "it is dead, but another program has a shared lock on its lock file"
        return False

    def lock_holders(self, name: str) -> list[int]:
        """Returns the pids of processes that have a lock on the lock file; reads /proc."""
        shared = instance_lock.holders_of_shared_lock(self._instance_files, name)
        return sorted(shared | instance_lock.holders_anywhere(name))

    def holders_anywhere(self, instance: Instance) -> list[int]:
        """Returns the pids of the instance if it lives with another lock file; reads /proc."""
        return sorted(instance_lock.holders_anywhere(instance.id))

    def lock_path(self, instance: str) -> str:
        """Returns where the lock file of an instance is, or was."""
        return f"{self._instance_files}.{instance}{instance_lock.SUFFIX}"

    def has_lock_file(self, instance: Instance) -> bool:
        """Returns whether the lock file of an instance was there, so that its lock is proof.

        A copy of it, as in a copy of the whole directory, proves nothing.
        """
        return self._lock_file(instance) is not None

    def _lock_file(self, instance: Instance) -> int | None:
        descriptor = self._files[instance.id]
        return None if descriptor is None or instance_lock.is_copy(descriptor) else descriptor

    def noted(self, instance: Instance) -> dict[int, CommandSession] | None:
        """Returns the sessions of the commands of an instance; see `run_notes.read_notes`."""
        descriptor = self._lock_file(instance)
        return None if descriptor is None else run_notes.read_notes(descriptor)

    def runs_lock(self, instance: Instance) -> RunsLock | None:
        """Returns the lock that its runs inherit; None if the lock file is gone."""
        descriptor = self._lock_file(instance)
        return (
            None if descriptor is None else _RunsLock(self._instance_files, instance.id, descriptor)
        )

    def forget(self, instance: Instance) -> None:
        """Deletes the lock file of an instance that is cleaned up."""
        if self._files[instance.id] is not None:
            instance_lock.remove(instance_lock.path_of(self._instance_files, instance.id))
        self._close(instance.id)

    def _close(self, name: str) -> None:
        descriptor = self._files.pop(name)
        if descriptor is not None:
            os.close(descriptor)


class _RunsLock:
    """See `leftovers.RunsLock`."""

    def __init__(self, instance_files: str, instance: str, descriptor: int) -> None:
        self._instance_files = instance_files
        self._instance = instance
        self._descriptor = descriptor

    def is_held(self) -> bool:
        return instance_lock.runs_alive(self._descriptor)

    def holders(self) -> set[int]:
        return instance_lock.holders_of_runs_lock(self._instance_files, self._instance)


class Rescuer:
    """Settles the claims of dead instances, once nothing of them is alive."""

    def __init__(
        self,
        ledger: Ledger,
        runner: TurnRunner,
        cgroups: RunCgroups | None,
        others: OtherInstances,
        log: Log,
    ) -> None:
        self.registered: list[Instance] = []
        # Instances that had a lock file and no row at the start of this one, as after a restore of
        # an older backup. They may run any job of this database, so no job is claimed meanwhile.
        self.unregistered: list[Instance] = []
        self._leases = LeaseObserver()
        self._ledger = ledger
        self._runner = runner
        self._cgroups = cgroups
        self._others = others
        self._log = log
        self._retry_at_s: dict[str, float] = {}  # of the instances that could not be cleaned up
        self._undecided_at_s: dict[str, float] = {}  # when these are looked at again
        self._undecided_logged: set[str] = set()

    def rescue(self, settings: Settings) -> bool:
        """Cleans up dead instances; returns whether jobs may be ready that were not before."""
        now_s, waiting = times.monotonic_s(), bool(self.unregistered)
        known = {instance.id for instance in self.registered}
        self.unregistered = [other for other in self.unregistered if other.id not in known]
        remote = [other for other in self.registered if not self._others.shares_locks(other)]
        local = [other for other in self.registered if other not in remote]
        dead = self._others.lock_dead(local + self.unregistered)
        living = {other.id: _NO_ROW for other in self.unregistered if other not in dead}
        self._log_undecided(living | self._others.undecided, now_s)
        due = [instance for instance in dead if self._retry_at_s.get(instance.id, now_s) <= now_s]
        rescued = [instance for instance in due if self._clean_up(instance, settings)]
        self._leases.observe(remote)
        rescued += [one for one in self._leases.over(remote) if self._take_over(one, settings)]
        self.registered = [other for other in self.registered if other not in rescued]
        self.unregistered = [other for other in self.unregistered if other not in rescued]
        # Another service may have rescued some.
        known = {instance.id for instance in self.registered + self.unregistered}
        self._retry_at_s = {name: at for name, at in self._retry_at_s.items() if name in known}
        return bool(rescued) or (waiting and not self.unregistered)

    def renewed(self, beats: dict[str, int]) -> bool:
        """Notes the renewals of all instances; returns False if these are others than before."""
        if beats.keys() != {other.id for other in self.registered}:
            return False
        self.registered = [other._replace(beat=beats[other.id]) for other in self.registered]
        return True

    @property
    def next_s(self) -> float:
        """Returns when a failed cleanup is tried again or a lease of another host is over."""
        tries = [*self._retry_at_s.values(), *self._undecided_at_s.values()]
        return min([*tries, self._leases.next_s()])

    def _log_undecided(self, undecided: dict[str, str], now_s: float) -> None:
        """Logs once why jobs wait for an instance that is not known to be dead, after 5 s."""
        before = self._undecided_at_s
        self._undecided_logged &= undecided.keys()
        self._undecided_at_s = {name: before.get(name, now_s + _RETRY_S) for name in undecided}
        for name, reason in undecided.items():
            if self._undecided_at_s[name] > now_s:
                continue
            self._undecided_at_s[name] = now_s + _RETRY_S
            if name not in self._undecided_logged:
                self._undecided_logged.add(name)
                self._log.error(
                    "instance.not_rescued",
                    dead=name,
                    error=reason,
                    pids=self._others.lock_holders(name),
                    lock=self._others.lock_path(name),
                    action="let this service read and write the lock file, and end the processes "
                    "listed, which lock it. The jobs of the instance wait. Tried again every 5 s",
                )

    def _clean_up(self, instance: Instance, settings: Settings) -> bool:
        """Settles the claims of an instance once no process of it lives; returns whether it did.

        If its lock file is missing or a copy, the instance may live with the real one, perhaps in
        the directory of which this one is a copy; it is not killed then. See `_living`.
        """
        if not self._others.has_lock_file(instance) and (living := self._living(instance)):
            self._refuse(instance, living, _LIVES)
            return False
        with self._ledger.transaction():
            claims = self._ledger.running_claims(instance.id)
        noted = self._others.noted(instance)
        killed = kill_leftovers(
            instance.id,
            claims,
            noted or {},
            self._cgroups,
            self._others.runs_lock(instance),
            within_s=_KILLING_AGAIN_S if instance.id in self._retry_at_s else _KILLING_S,
        )
        if not killed.complete:
            left = sorted({process.pid for process in killed.left})
            self._refuse(instance, left, _NOT_KILLED)
            return False
        with self._ledger.transaction():
            turn = self._settle(claims, ClaimLoss("the service died", noted), settings)
            self._ledger.unregister(instance.id)
        self._others.forget(instance)
        self._log.warning(
            "instance.rescued",
            dead=instance.id,
            claims=len(claims),
            processes_killed=killed.signalled,
        )
        job_log.log_turn(self._log, turn)
        self._runner.on_rescued(turn)
        return True

    def _living(self, instance: Instance) -> list[int]:
        """Returns the pids that may be of a living instance, whatever lock file it has.

        A process with its mark that hides its open files may hold the lock.
        """
        marked = [process.pid for process in run_processes(instance.id, set())]
        hidden = [pid for pid in marked if not procfs.shows_files(pid)]
        return sorted({*self._others.holders_anywhere(instance), *hidden})

    def _take_over(self, instance: Instance, settings: Settings) -> bool:
        """Settles the claims of an instance of another host whose lease is over.

        Returns whether it did; False if the instance has renewed its lease meanwhile.
        """
        with self._ledger.transaction():
            if not self._ledger.take_over(instance):
                return False
            claims = self._ledger.running_claims(instance.id)
            turn = self._settle(
                claims, ClaimLoss("its host did not renew its lease", None), settings
            )
        self._log.warning(
            "instance.taken_over", dead=instance.id, host=instance.host, claims=len(claims)
        )
        job_log.log_turn(self._log, turn)
        self._runner.on_rescued(turn)
        return True

    def _settle(self, claims: list[Claim], loss: ClaimLoss, settings: Settings) -> Turn:
        """Settles the claims of a dead instance as lost, inside a transaction."""
        turn = Turn(ClaimTable(claims), settings, self._ledger.now_ms())
        for worker in turn.claims.busy():
            self._runner.settle_lost(turn, turn.claims.of(worker), loss)
        self._runner.record(turn)
        return turn

    def _refuse(self, instance: Instance, pids: list[int], action: str) -> None:
        """Postpones the cleanup, because jobs of the instance may still run; logs it once."""
        first = instance.id not in self._retry_at_s
        self._retry_at_s[instance.id] = times.monotonic_s() + _RETRY_S
        if first:
            self._log.error(
                "instance.not_rescued",
                dead=instance.id,
                pids=pids,
                lock=self._others.lock_path(instance.id),
                action=action,
            )
