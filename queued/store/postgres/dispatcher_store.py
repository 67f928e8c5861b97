"""The verbs of the dispatcher over PostgreSQL: claims, results, output, many in one transaction."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from queued.core import times
from queued.core.errors import CommitUnknownError
from queued.core.labels import split
from queued.core.lease import IdleRenewal, Renewal
from queued.core.model import Instance, Label, NewJob, State
from queued.core.records import MANY, Lane, PruneStep, Share, SnapshotHolder
from queued.core.runs import Chunk, Claim, HeldRun, Key, SignalRequest
from queued.core.settlement import Settlement
from queued.store.ledger_rows import claim_of, unknown_instance
from queued.store.postgres import pruning, schema
from queued.store.postgres.claiming import Claiming
from queued.store.postgres.connection import Database
from queued.store.postgres.counts import Counts
from queued.store.postgres.due_jobs import DueJobs
from queued.store.postgres.new_jobs import NewJobs
from queued.store.postgres.numbers import count_columns
from queued.store.postgres.queues import LedgerQueues
from queued.store.postgres.schedules import firings
from queued.store.postgres.unknown_commits import UnknownCommits
from queued.store.postgres.watcher import PostgresWatcher
from queued.store.protocols import Watcher
from queued.store.pruning import Bounds
from queued.store.run_periods import RunPeriods


class PostgresLedger:
    """A `Ledger` in one schema of a PostgreSQL database, which exists; see `upgrade`."""

    def __init__(
        self, url: str, on_wait: Callable[[float], None] | None = None, instance_files: str = ""
    ) -> None:
        self._instance_files = instance_files
        self._database = Database(url, application="queued", serving=True, on_wait=on_wait)
        self._new_jobs = NewJobs(self._database)
        self._instance = ""
        self.schedules = firings(self._database)
        self._due = DueJobs(self._database)
        self.queues = LedgerQueues(self._database)
        self._claiming = Claiming(self._database, self.queues)
        self._others_may_start = False  # jobs, because of what this transaction did
        self._unknown = UnknownCommits(self._database)
        self._counts = Counts(self._database)
        self._periods = RunPeriods(self._database, ("fold_minute",))

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:  # noqa: ARG002
        """See `Ledger.transaction`. Every commit is durable.

        The commands of a service outlive a crash of the database server, which may be another
        machine. A claim that the server forgot would run a second time beside the first.
        """
        self._unknown.begin()
        self._others_may_start = False
        try:
            with self._database.transaction():
                yield
        except BaseException as error:
            self._claiming.on_rollback()
            if isinstance(error, CommitUnknownError):
                self._unknown.on_unknown()
            raise
        self._unknown.on_committed()
        if self._others_may_start:
            self._database.notify("notify_hungry")

    def now_ms(self) -> int:
        """See `Ledger.now_ms`. It is the clock of the server, read at each renewal."""
        return self._database.now_ms()

    def host_ms(self, at_ms: int | None) -> int | None:
        """See `Ledger.host_ms`."""
        return None if at_ms is None else at_ms - self.now_ms() + times.now_ms()

    # The instance and its workers

    def register(self, instance: Instance, *, now_ms: int) -> None:
        """See `Ledger.register`."""
        newest = schema.latest()
        self._database.run("register", **instance._asdict(), schema=newest, now=now_ms)
        self._database.run("forget_fenced")
        self._database.run("workers_gone", instance=instance.id)
        self._database.run("fold_totals")
        self._instance = instance.id

    def unregister(self, instance: str) -> bool:
        """See `Ledger.unregister`."""
        return self._database.row("unregister", id=instance) is not None

    def instances(self) -> list[Instance]:
        """See `Ledger.instances`."""
        registered = [Instance(*row) for row in self._database.rows("instances")]
        unknown = self._database.rows("unregistered_instances")
        return [*registered, *(unknown_instance(*row) for row in unknown)]

    def instance(self, instance: str) -> Instance | None:
        """See `Ledger.instance`."""
        row = self._database.row("instance", id=instance)
        return None if row is None else Instance(*row)

    def connections(self) -> int:
        """See `Ledger.connections`."""
        return self._database.connections

    def renew(self, instance: str) -> Renewal | None:
        """See `Ledger.renew`. The clock of the server is read again, too."""
        self._database.read_server()
        row = self._database.row("renew", id=instance)
        if row is None:
            self._database.must_fit()
            return None
        return Renewal(*row)

    def renew_idle(self, instance: str, lanes: Sequence[int]) -> IdleRenewal | None:
        """See `Ledger.renew_idle`."""
        row = self._database.row_alone("renew_idle", id=instance, lanes=[*lanes], first=0)
        if row is None:
            return None
        _, history, beat, trusted, longest_s, *read = row
        return IdleRenewal(Renewal(beat, history, trusted, longest_s), *read)

    def trust_history(self, history: str) -> None:
        """See `Ledger.trust_history`."""
        self._database.run("trust_history", history=history)

    def take_over(self, instance: Instance) -> bool:
        """See `Ledger.take_over`."""
        if instance.host_id:
            taken = self._database.row("take_over", id=instance.id, beat=instance.beat)
        else:
            taken = self._database.row("take_over_unknown", id=instance.id)
        if taken is None:
            return False
        self._database.run("workers_gone", instance=instance.id)
        return True

    def worker_started(self, instance: str, worker: int, pid: int, *, now_ms: int) -> None:
        """See `Ledger.worker_started`."""
        self._database.run("worker_started", instance=instance, worker=worker, pid=pid, now=now_ms)

    def worker_gone(self, instance: str, worker: int) -> None:
        """See `Ledger.worker_gone`."""
        self._database.run("worker_gone", instance=instance, worker=worker)

    # Claims

    def promote(self, *, now_ms: int, limit: int) -> int | None:
        """See `Ledger.promote`. Once a second it also adds differences to the counts."""
        self._counts.fold(now_ms)
        due_ms = self._due.promote(now_ms=now_ms, limit=limit)
        self._others_may_start |= self._due.others_may_start
        return due_ms

    def next_expiry(self) -> int | None:
        """See `Ledger.next_expiry`."""
        return self._due.next_expiry

    def expire(self, instance: str, token: int, *, now_ms: int, limit: int) -> list[Claim]:
        """See `Ledger.expire`."""
        return self._due.expire(instance, token, now_ms=now_ms, limit=limit)

    def relabel(self, instance: str, labels: str) -> None:
        """See `Ledger.relabel`."""
        self._database.run("relabel", id=instance, labels=labels)

    def lanes(self, *, after: int) -> list[Lane]:
        """See `Ledger.lanes`."""
        rows = self._database.rows("lanes", after=after)
        return [Lane(number, queue, split(requires)) for number, queue, requires in rows]

    def drained_hosts(self) -> dict[str, int]:
        """See `Ledger.drained_hosts`."""
        return dict(self._database.rows("drained_hosts"))

    def required_now(self) -> list[frozenset[str]]:
        """See `Ledger.required_now`."""
        return [split(text) for (text,) in self._database.rows("required_now")]

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
        """See `Ledger.claim` and `Claiming`."""
        rows = self._claiming.claim(instance, workers, token, now_ms, shares, idle=idle)
        return [claim_of(row[:14]) for row in rows]

    def set_hungry(self, instance: str, *, hungry: bool) -> None:
        """See `Ledger.set_hungry`."""
        self._claiming.set_hungry(instance, hungry)

    def restore_claim(
        self, instance: str, worker: int, run: HeldRun, *, claimed_ms: int, now_ms: int
    ) -> bool | None:
        """See `Ledger.restore_claim`."""
        values = run.key._asdict() | {"created": run.created_ms, "worker": worker}
        values |= {"claimed": claimed_ms, "now": now_ms}
        row = self._database.row("restore_claim", id=run.id, instance=instance, **values)
        return None if row is None else bool(row[0])

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
        undone = self._database.row("unclaim", **key._asdict(), now=now_ms)
        if undone is None:
            return False
        self._others_may_start |= undone[0] in self.queues.limited
        self._database.run("forget_attempt", job=key.job, attempt=key.attempt)
        return True

    def running_claims(self, instance: str) -> list[Claim]:
        """See `Ledger.running_claims`."""
        rows = self._database.rows("running_claims", instance=instance)
        return [claim_of(row) for row in rows]

    def cancel_requests(self, instance: str) -> list[Key]:
        """See `Ledger.cancel_requests`."""
        return [Key(*row) for row in self._database.rows("cancel_requests", instance=instance)]

    def take_signals(self, instance: str, workers: Sequence[int]) -> list[SignalRequest]:
        """See `Ledger.take_signals`."""
        rows = self._database.rows("signal_requests", instance=instance, workers=[*workers])
        if rows:
            self._database.run("forget_signals", ids=[row[0] for row in rows])
        return [SignalRequest(Key(*key), name) for _, name, *key in rows]

    # Results

    def store_output(self, pieces: Sequence[tuple[Key, Chunk]]) -> None:
        """See `Ledger.store_output`."""
        keys, chunks = [key for key, _ in pieces], [chunk for _, chunk in pieces]
        self._database.run(
            "store_output",
            jobs=[key.job for key in keys],
            numbers=[key.attempt for key in keys],
            tokens=[key.token for key in keys],
            streams=[chunk.stream for chunk in chunks],
            positions=[chunk.position for chunk in chunks],
            contents=[chunk.content for chunk in chunks],
        )

    def trim_output(self, key: Key, stream: int, *, head_end: int, tail_start: int) -> None:
        """See `Ledger.trim_output`."""
        ends = {"head_end": head_end, "tail_start": tail_start}
        self._database.run("trim_output", **key._asdict(), stream=stream, **ends)

    def settle(self, endings: Sequence[Settlement], *, now_ms: int) -> list[State | None]:
        """See `Ledger.settle`."""
        self._others_may_start |= any(one.claim.queue in self.queues.limited for one in endings)
        ordered = sorted(endings, key=lambda one: one.claim.key)
        text = json.dumps([self._columns(one) for one in ordered], ensure_ascii=False)
        also: dict[str, str | int] = {"now": now_ms, "instance": self._instance}
        rows = self._database.rows("settle", endings=text, **also) if endings else []
        states: dict[Key, State] = {Key(*key): State(state) for *key, state in rows}
        for one in ordered:
            if one.verdict.deferrals > 1 and (key := one.claim.key) in states:
                self._database.run("merge_deferrals", job=key.job, attempt=key.attempt)
        if states:
            self._periods.tidy(now_ms)
        states = self._unknown.states(endings, states)
        return [states.pop(one.claim.key, None) for one in endings]

    def _columns(self, one: Settlement) -> dict[str, str | int | None]:
        """Returns the columns of `settle`, with the times of the run by the clock of the server."""
        columns = {**one.columns(), **count_columns(one)}
        if (ended_boot_ms := one.ending.ended_boot_ms) is not None:
            ended_ms = self.now_ms() - (times.boot_ms() - ended_boot_ms)
            columns |= {"ended_at": ended_ms, "started_at": ended_ms - (one.ending.ran_ms or 0)}
        return columns

    def recorded_before(self, key: Key) -> bool:
        """See `Ledger.recorded_before`."""
        return self._unknown.has_recorded(key)

    def enqueue(self, jobs: Sequence[NewJob], *, max_retries: int, now_ms: int) -> bool:
        """See `Ledger.enqueue`."""
        made = self._new_jobs.make_lanes(jobs)
        self._new_jobs.insert(jobs, max_retries=max_retries, now_ms=now_ms)
        return made

    def prune(self, state: State, *, after: int, before_ms: int, limit: int) -> PruneStep:
        """See `Ledger.prune`."""
        return pruning.walk(self._database, state, Bounds(after, before_ms, limit))

    # Time, settings, changes

    def shift_clock(self, *, boot_id: str, offset_ms: int, tolerance_ms: int) -> int:  # noqa: ARG002
        """Returns 0 and moves nothing.

        The clock of a queue on PostgreSQL is that of the server. If a host sets its own clock, no
        job becomes due at another time, and each of several hosts would move the same jobs again.
        """
        return 0

    def counts(self) -> dict[Label, int]:
        """See `Ledger.counts`."""
        return self._counts.by_label()

    def config(self) -> dict[str, str]:
        """See `Ledger.config`."""
        return dict(self._database.rows("config"))

    def backlog_bytes(self) -> int:
        """Returns 0, because an open read transaction does not hold back the log of PostgreSQL.

        It holds back the removal of dead rows: see `snapshot_holders`.
        """
        return 0

    def snapshot_holders(self) -> list[SnapshotHolder]:
        """See `Ledger.snapshot_holders`."""
        with self._database.reading():
            return [SnapshotHolder(*row) for row in self._database.rows("snapshot_holders")]

    def version(self) -> int:
        """See `Database.version`."""
        return self._database.version()

    def watcher(self) -> Watcher:
        """See `Ledger.watcher`."""
        return PostgresWatcher(self._database, self._instance_files)

    def close(self) -> None:
        """See `Ledger.close`."""
        self._database.close()
