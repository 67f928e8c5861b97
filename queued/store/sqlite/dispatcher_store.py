"""The verbs of the dispatcher over SQLite: claims, results and output, many in one transaction."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from operator import itemgetter

from queued.core import times
from queued.core.labels import split
from queued.core.lease import IdleRenewal, Renewal
from queued.core.model import Instance, Label, NewJob, State
from queued.core.records import MANY, Lane, PruneStep, Share, SnapshotHolder
from queued.core.runs import Chunk, Claim, HeldRun, Key, SignalRequest
from queued.core.settlement import Settlement
from queued.store import rows
from queued.store.change_watcher import ChangeWatcher
from queued.store.dependencies import Dependencies
from queued.store.ledger_rows import STATES, claim_of
from queued.store.pruning import Bounds
from queued.store.sqlite import pruning, upgrade
from queued.store.sqlite.busy_handler import BusyHandler
from queued.store.sqlite.connection import Access, Database, Row, wal_bytes
from queued.store.sqlite.keys import Keys
from queued.store.sqlite.new_jobs import NewJobs
from queued.store.sqlite.numbers import RunCounters
from queued.store.sqlite.queues import SqliteQueues
from queued.store.sqlite.schedules import firings
from queued.store.statements import texts


class SqliteLedger:
    """A `Ledger` in one SQLite file."""

    def __init__(self, path: str, busy_handler: BusyHandler) -> None:
        # The supervisor's process has made the database. If it is missing now, it was removed.
        self._database = Database(path, busy_handler, upgrade.migrate, Access.WRITE)
        self._new_jobs = NewJobs(self._database)
        self.queues = SqliteQueues(self._database)
        self._keys = Keys(self._database)
        self._instance = ""
        self.schedules = firings(self._database)
        self._dependencies = Dependencies(self._database, str)
        self._run_counters = RunCounters(self._database)

    def transaction(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """See `Ledger.transaction`."""
        return self._database.transaction(durable=durable)

    def now_ms(self) -> int:
        """See `Ledger.now_ms`."""
        return times.now_ms()

    def host_ms(self, at_ms: int | None) -> int | None:
        """See `Ledger.host_ms`. The clock of the queue is that of this host."""
        return at_ms

    # The instance and its workers

    def register(self, instance: Instance, *, now_ms: int) -> None:
        """See `Ledger.register`."""
        self._database.run(
            "register",
            id=instance.id,
            host=instance.host,
            pid=instance.pid,
            version=instance.version,
            now=now_ms,
            overrides=instance.overrides,
            labels=instance.labels,
        )
        self._database.run("workers_gone", instance=instance.id)
        self._database.run("fold_totals")
        self._database.run("forget_folded")
        self._instance = instance.id

    def unregister(self, instance: str) -> bool:
        """See `Ledger.unregister`."""
        return self._database.row("unregister", id=instance) is not None

    def instances(self) -> list[Instance]:
        """See `Ledger.instances`."""
        registered = [Instance(*row) for row in self._database.rows("instances")]
        unknown = self._database.rows("unregistered_instances")
        return [*registered, *(Instance(str(row[0]), "", 0, "", 0, None) for row in unknown)]

    def instance(self, instance: str) -> Instance | None:
        """See `Ledger.instance`."""
        row = self._database.row("instance", id=instance)
        return None if row is None else Instance(*row)

    def connections(self) -> int:
        """Returns 1: the file stays open."""
        return 1

    def renew(self, instance: str) -> Renewal | None:
        """See `Ledger.renew`. There are no leases: the instance lives while it has its row."""
        return None if self.instance(instance) is None else Renewal(0, "", "", 0.0)

    def renew_idle(self, instance: str, lanes: Sequence[int]) -> IdleRenewal | None:  # noqa: ARG002
        """Returns None: there are no leases."""
        return None

    def trust_history(self, history: str) -> None:
        """Does nothing: a file has one history."""

    def take_over(self, instance: Instance) -> bool:
        """See `Ledger.take_over`. Is never called, because no instance is of another host."""
        raise NotImplementedError(instance.id)

    def worker_started(self, instance: str, worker: int, pid: int, *, now_ms: int) -> None:
        """See `Ledger.worker_started`."""
        self._database.run("worker_started", instance=instance, worker=worker, pid=pid, now=now_ms)

    def worker_gone(self, instance: str, worker: int) -> None:
        """See `Ledger.worker_gone`."""
        self._database.run("worker_gone", instance=instance, worker=worker)

    # Claims

    def promote(self, *, now_ms: int, limit: int) -> int | None:
        """See `Ledger.promote`."""
        due, changed = self._next_due()
        if changed:
            self._dependencies.tell(now_ms=now_ms)
            due, changed = self._next_due()
        if due is not None and due <= now_ms:
            self._database.run("promote", now=now_ms, limit=limit)
            due, _ = self._next_due()
        next_ms = (now_ms if changed else due, self._keys.give_places(now_ms=now_ms))
        return min((ms for ms in next_ms if ms is not None), default=None)

    def _next_due(self) -> tuple[int | None, bool]:
        ((due, changed),) = self._database.rows("next_due")
        return due, bool(changed)

    def next_expiry(self) -> int | None:
        """See `Ledger.next_expiry`."""
        due: int | None = self._database.value("next_expiry")
        return due

    def expire(self, instance: str, token: int, *, now_ms: int, limit: int) -> list[Claim]:
        """See `Ledger.expire`."""
        jobs = [row[0] for row in self._database.rows("expired", now=now_ms, limit=limit)]
        rows = self._database.rows("claim_expired", jobs=str(jobs), token=token, now=now_ms)
        return self._open_attempts(instance, rows, [0] * len(rows), now_ms)

    def relabel(self, instance: str, labels: str) -> None:
        """See `Ledger.relabel`."""
        self._database.run("relabel", id=instance, labels=labels)

    def lanes(self, *, after: int) -> list[Lane]:
        """See `Ledger.lanes`."""
        found = [texts(row, "replace") for row in self._database.rows("lanes", after=after)]
        return [Lane(number, queue, split(requires)) for number, queue, requires in found]

    def drained_hosts(self) -> dict[str, int]:
        """See `Ledger.drained_hosts`."""
        return dict(self._database.rows("drained_hosts"))

    def required_now(self) -> list[frozenset[str]]:
        """See `Ledger.required_now`."""
        return [
            split(text.decode(errors="replace")) for (text,) in self._database.rows("required_now")
        ]

    def claim(  # noqa: PLR0913 - the values of one statement
        self,
        instance: str,
        workers: Sequence[int],
        token: int,
        *,
        now_ms: int,
        shares: Sequence[Share] = (Share(),),
        idle: int = MANY,
    ) -> list[Claim]:
        """See `Ledger.claim`."""
        jobs = self.queues.first_ready(shares, len(workers), now_ms)
        rows = self._database.rows("claim", jobs=str(jobs), token=token, now=now_ms, idle=idle)
        claims = self._open_attempts(instance, [row[:-1] for row in rows], workers, now_ms)
        rated = [row[0] for row in rows if row[-1]]
        self.queues.add_starts((claim.queue for claim in claims), rated, now_ms)
        return claims

    def _open_attempts(
        self, instance: str, rows: list[Row], workers: Sequence[int], now_ms: int
    ) -> list[Claim]:
        rows.sort(key=itemgetter(2))  # the token
        claims = [
            _claim((*row, worker, now_ms)) for worker, row in zip(workers, rows, strict=False)
        ]
        self._database.run_each(
            "open_attempt",
            [
                {
                    "job": claim.key.job,
                    "attempt": claim.key.attempt,
                    "instance": instance,
                    "worker": claim.worker,
                    "now": now_ms,
                }
                for claim in claims
            ],
        )
        return claims

    def set_hungry(self, instance: str, *, hungry: bool) -> None:
        """Does nothing: every change of the file is seen."""

    def restore_claim(
        self,
        instance: str,  # noqa: ARG002
        worker: int,  # noqa: ARG002
        run: HeldRun,  # noqa: ARG002
        *,
        claimed_ms: int,  # noqa: ARG002
        now_ms: int,  # noqa: ARG002
    ) -> bool | None:
        """Returns False: a file loses no claims."""
        return False

    def input(self, job: int) -> bytes:
        """See `Ledger.input`."""
        content: bytes | None = self._database.value("input", job=job)
        return content or b""

    def interruptions(self, job: int) -> int:
        """See `Ledger.interruptions`."""
        return int(self._database.value("interruptions", job=job))

    def deferrals(self, job: int) -> int:
        """See `Ledger.deferrals`."""
        return self._database.value("deferrals", job=job) or 0

    def unclaim(self, key: Key, *, now_ms: int) -> bool:
        """See `Ledger.unclaim`."""
        if self._database.row("unclaim", **key._asdict(), now=now_ms) is None:
            return False
        self._database.run("forget_attempt", job=key.job, attempt=key.attempt)
        return True

    def running_claims(self, instance: str) -> list[Claim]:
        """See `Ledger.running_claims`."""
        return [_claim(row) for row in self._database.rows("running_claims", instance=instance)]

    def cancel_requests(self, instance: str) -> list[Key]:
        """See `Ledger.cancel_requests`."""
        return [Key(*row) for row in self._database.rows("cancel_requests", instance=instance)]

    def take_signals(self, instance: str, workers: Sequence[int]) -> list[SignalRequest]:
        """See `Ledger.take_signals`."""
        rows = self._database.rows("signal_requests", instance=instance, workers=str([*workers]))
        if rows:
            self._database.run("forget_signals", ids=str([row[0] for row in rows]))
        return [SignalRequest(Key(*key), name.decode(errors="replace")) for _, name, *key in rows]

    # Results

    def store_output(self, pieces: Sequence[tuple[Key, Chunk]]) -> None:
        """See `Ledger.store_output`."""
        self._database.run_each(
            "store_output", (key._asdict() | chunk._asdict() for key, chunk in pieces)
        )

    def trim_output(self, key: Key, stream: int, *, head_end: int, tail_start: int) -> None:
        """See `Ledger.trim_output`."""
        ends = {"head_end": head_end, "tail_start": tail_start}
        self._database.run("trim_output", **key._asdict(), stream=stream, **ends)

    def settle(self, endings: Sequence[Settlement], *, now_ms: int) -> list[State | None]:
        """See `Ledger.settle`."""
        columns = [{**one.columns(), "now": now_ms} for one in endings]
        rows = self._database.rows_each("settle", columns)
        states = {Key._make(row[:3]): STATES[row[3]] for row in rows}
        found = [states.pop(one.claim.key, None) for one in endings]
        in_force = [one for one, state in zip(columns, found, strict=True) if state is not None]
        self._database.run_each("close_attempt", in_force)
        ended = [one for one, state in zip(endings, found, strict=True) if state is not None]
        self._run_counters.add(self._instance, ended, now_ms)
        for one, state in zip(endings, found, strict=True):
            if one.verdict.deferrals > 1 and state is not None:
                key = one.claim.key
                self._database.run("merge_deferrals", job=key.job, attempt=key.attempt)
        return found

    def recorded_before(self, key: Key) -> bool:  # noqa: ARG002
        """See `Ledger.recorded_before`. Returns False, because no commit is unknown."""
        return False

    def enqueue(self, jobs: Sequence[NewJob], *, max_retries: int, now_ms: int) -> bool:
        """See `Ledger.enqueue`."""
        made = self._new_jobs.make_lanes(jobs)
        self._new_jobs.insert(jobs, max_retries=max_retries, now_ms=now_ms)
        return made

    def prune(self, state: State, *, after: int, before_ms: int, limit: int) -> PruneStep:
        """See `Ledger.prune`."""
        return pruning.walk(self._database, state, Bounds(after, before_ms, limit))

    # Time, settings, changes

    def shift_clock(self, *, boot_id: str, offset_ms: int, tolerance_ms: int) -> int:
        """See `Ledger.shift_clock`."""
        before: int | None = self._database.value("clock", boot_id=boot_id)
        shift = 0 if before is None else offset_ms - before
        if before is not None and abs(shift) <= tolerance_ms:
            return 0
        self._database.run("clock_forget", boot_id=boot_id)
        self._database.run("clock_set", boot_id=boot_id, offset=offset_ms)
        for name in ("shift_retries", "shift_starts", "shift_keys") if shift else ():
            self._database.run(name, shift=shift)
        return shift

    def counts(self) -> dict[Label, int]:
        """See `Ledger.counts`."""
        return rows.counts(self._database.rows("counts"))

    def config(self) -> dict[str, str]:
        """See `Ledger.config`."""
        return self._database.settings()

    def backlog_bytes(self) -> int:
        """See `Ledger.backlog_bytes`."""
        with self._database.named_errors():
            return wal_bytes(self._database.path)

    def snapshot_holders(self) -> list[SnapshotHolder]:
        """Returns an empty list: a file has no sessions; see `backlog_bytes`."""
        return []

    def version(self) -> int:
        """See `Ledger.version`."""
        with self._database.named_errors():
            return self._database.version()

    def watcher(self) -> ChangeWatcher:
        """See `Ledger.watcher`."""
        return ChangeWatcher(self._database.path)

    def close(self) -> None:
        """See `Ledger.close`."""
        self._database.close()


def _claim(row: Row) -> Claim:
    texts, error = row[3:7], None
    try:
        texts = tuple(text.decode() for text in texts)
    except ValueError as invalid:
        texts, error = tuple(text.decode(errors="replace") for text in texts), invalid
    return claim_of((*row[:3], *texts, *row[7:]), error)
