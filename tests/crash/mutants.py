"""Defects put into the product on purpose, to see that the tests find them."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import apsw

from queued.core import settlement, times
from queued.core.lease import Renewal
from queued.core.model import Instance, NewJob
from queued.core.runs import Claim, Ending
from queued.service.dispatcher import rescuer, turn
from queued.service.dispatcher.dispatcher import Dispatcher
from queued.service.dispatcher.lease_keeper import LeaseObserver
from queued.service.dispatcher.quarantine import Quarantine
from queued.service.dispatcher.turn import TurnRunner
from queued.service.dispatcher.turn_results import Turn
from queued.service.ipc.messages import Recorded, Result, Run
from queued.service.linux import procfs, run_mark
from queued.service.linux.killing import Killed
from queued.service.log_stdout import StandardOutput
from queued.service.supervisor import supervisor
from queued.service.supervisor.orphan_reaper import OrphanReaper
from queued.service.warden.warden import Warden
from queued.service.worker import execution
from queued.service.worker.output_streams import OutputStreams
from queued.store import instance_lock
from queued.store.postgres import connection as postgres_connection
from queued.store.postgres import sql_loader as postgres_sql
from queued.store.sqlite import connection, sql_loader, upgrade
from queued.store.sqlite.dispatcher_store import SqliteLedger
from queued.store.sqlite.new_jobs import NewJobs
from queued.store.sqlite.open_files import OpenFiles
from tests.claims import make_claim


def put(owner: Any, name: str, value: object) -> None:
    """Replaces an attribute of a module or class."""
    setattr(owner, name, value)


def no_fence(_argument: str) -> None:
    """A result is recorded even if its claim is stale."""
    plain = sql_loader.load

    def load() -> dict[str, str]:
        found = dict(plain())
        fence = "AND runs = :attempt AND token = :token AND state = 'processing'"
        assert fence in found["settle"]
        found["settle"] = found["settle"].replace(fence, "AND :token IS NOT NULL")
        return found

    def result(self: TurnRunner, made: Turn, worker: int, sent: Result, *rest: Any) -> None:
        database = self._ledger._database  # type: ignore[attr-defined]
        claim = next(iter(made.claims.of(worker)), None)
        if claim is None:
            job = database.row("show", job=sent.key.job)
            names = {"id": job[1], "queue": job[2], "command": job[4], "due_ms": job[8]}
            counts = {"attempts": job[9], "max_retries": job[10], "worker": worker}
            claim = make_claim(key=sent.key, **names, **counts)
        made.reply(worker, Recorded(key=sent.key, accepted=True))
        self.settle(made, claim, sent.ending, *rest)

    put(sql_loader, "load", load)
    put(TurnRunner, "_result", result)


def no_rescue(_argument: str) -> None:
    """The claims of a dead instance are not rescued."""
    put(rescuer.Rescuer, "rescue", lambda _self, _settings: False)


def rescue_without_kill(_argument: str) -> None:
    """A dead instance's commands live on."""
    put(rescuer, "kill_leftovers", lambda *_, **_named: Killed(0, [], unseen=False))


def alone_not_group(_argument: str) -> None:
    """A run is over when its command has exited, even if processes of it are alive."""
    put(execution.Execution, "_on_exit", lambda self, _now_s, **_named: self._finish())


def orphans_stay(_argument: str) -> None:
    """The commands of a dead worker are not killed."""
    put(OrphanReaper, "leftovers", lambda _self, _found, _deaths: [])
    put(OrphanReaper, "must_die", lambda _self, _pid, _deaths: False)


def zombies_are_dead(_argument: str) -> None:
    """A process whose first thread has ended is taken for dead, even if other threads run."""
    plain = procfs.read_process

    def look(pid: int) -> procfs.Process | None:
        found = plain(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state = file.read().rpartition(b") ")[2][:1]
        except OSError:
            return found
        return found._replace(dead=state in b"ZX") if found is not None else None

    put(procfs, "read_process", look)
    put(OrphanReaper, "must_die", lambda _self, _pid, _deaths: False)  # it would kill them, too


def only_environment(_argument: str) -> None:
    """A rescue finds leftovers by their environment only, and tries no lock."""
    put(
        run_mark,
        "of_process",
        lambda pid: run_mark.of_environment(procfs.environment(pid)),
    )
    put(instance_lock, "runs_alive", lambda _descriptor: False)


def told_before_commit(_argument: str) -> None:
    """Workers get claims and acknowledgements before the commit."""
    plain = TurnRunner.turn

    def eager(self: TurnRunner, pool: Any, *rest: Any, **named: Any) -> Turn:
        made = plain(self, pool, *rest, **named)
        for worker, messages in made.replies.items():
            pool.send(worker, messages)
        told = any(isinstance(m, Recorded | Run) for sent in made.replies.values() for m in sent)
        made.replies.clear()
        if told and _once():
            time.sleep(0.5)  # they begin meanwhile
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    put(TurnRunner, "turn", eager)


def _once() -> bool:
    mark = os.environ.get("ALTERED_MARK", "")
    if os.path.exists(mark):
        return False
    os.close(os.open(mark, os.O_CREAT))
    return True


def early_retry(_argument: str) -> None:
    """A retry does not wait."""
    put(settlement, "backoff_s", lambda _attempts, **_named: 0.0)


def uncounted_loss(_argument: str) -> None:
    """A lost run is not counted."""
    plain = settlement.judge

    def judge(claim: Claim, ending: Ending, *rest: Any, **named: Any) -> settlement.Verdict:
        found = plain(claim, ending, *rest, **named)
        return found._replace(counted=0) if ending.outcome == "lost" else found

    put(turn, "judge", judge)


def output_once(_argument: str) -> None:
    """Output that a dead dispatcher did not store is not sent again."""
    put(OutputStreams, "rewind", lambda _self: None)


def printed_before_commit(_argument: str) -> None:
    """queuectl prints the id before the job is stored."""
    plain = NewJobs._insert

    def insert(self: NewJobs, job: NewJob, name: str, *rest: Any) -> bool:
        plain(self, job, name, *rest)
        os.write(1, f"{name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    put(NewJobs, "_insert", insert)


def all_instances_are_dead(_argument: str) -> None:
    """Every other instance is taken for dead, without trying its lock."""
    put(instance_lock, "try_lock", lambda _descriptor, **_named: True)


def any_lock_path(_argument: str) -> None:
    """The id of an instance in a row is not checked before it becomes a part of a path."""
    put(instance_lock, "path_of", lambda database, instance: f"{database}.{instance}.lock")


def deleted_lock_is_death(_argument: str) -> None:
    """An instance whose lock file is missing is taken for dead."""
    put(instance_lock, "holders_anywhere", lambda _instance: set())


def any_journal_mode(_argument: str) -> None:
    """A database that another program took out of WAL mode is used as it is."""
    plain = upgrade.migrate

    def migrate(opened: apsw.Connection, *rest: Any) -> str | None:
        return None if opened.pragma("user_version") else plain(opened, *rest)

    put(upgrade, "migrate", migrate)


def removed_files_unnoticed(_argument: str) -> None:
    """A replaced file is not noticed: open files are not compared with those of the path."""
    put(OpenFiles, "first_replaced", lambda _self: None)


def two_names_accepted(_argument: str) -> None:
    """A database with two names is used under both."""
    put(connection, "must_have_one_name", lambda _path: None)


def log_waits_for_its_reader(_argument: str) -> None:
    """A line of the log is written at once, however long its reader makes no room."""

    def write(_self: StandardOutput, content: bytes, _patience_s: float) -> bytes:
        os.write(1, content)
        return b""

    put(StandardOutput, "write", write)


def stop_waits_for_the_database(_argument: str) -> None:
    """A stop waits until all results are recorded, however long that takes."""
    put(supervisor, "_RECORD_S", float("inf"))


def uncounted_moves(_argument: str) -> None:
    """The table of counts is not updated."""
    plain = Dispatcher._open

    def opened(self: Dispatcher) -> None:
        plain(self)
        assert isinstance(self._ledger, SqliteLedger)
        self._ledger._database._connection.execute("DROP TRIGGER jobs_recounted")

    put(Dispatcher, "_open", opened)


def no_warden(_argument: str) -> None:
    """The warden kills nothing."""
    put(Warden, "_kill", lambda _self, **_named: None)


def leases_by_wall_clock(_argument: str) -> None:
    """A host takes over by its own wall clock, compared with the time of the last renewal."""

    def over(_self: LeaseObserver, others: Sequence[Instance]) -> list[Instance]:
        ahead_s = times.now_ms() / 1000 - time.time()
        return [one for one in others if one.silent_s + ahead_s >= one.lease_s]

    put(LeaseObserver, "over", over)


def claims_not_durable(_argument: str) -> None:
    """PostgreSQL confirms the commits of a service before they are on the disk."""
    plain = postgres_connection.Database.__init__

    def init(self: postgres_connection.Database, *words: Any, serving: bool, **named: Any) -> None:
        plain(self, *words, serving=serving, **named)
        if serving:
            begin = self._sql["begin"].replace(
                "synchronous_commit = on", "synchronous_commit = off"
            )
            assert begin != self._sql["begin"]
            self._sql = {**self._sql, "begin": begin}

    put(postgres_connection.Database, "__init__", init)


def settled_without_token(_argument: str) -> None:
    """PostgreSQL records the end of a run whose claim was given to another worker."""
    plain = postgres_sql.load

    def load(schema: str) -> dict[str, str]:
        found = dict(plain(schema))
        fence = "AND j.token = e.token"
        assert fence in found["settle"]
        return found | {"settle": found["settle"].replace(fence, "AND j.state = 'processing'")}

    put(postgres_sql, "load", load)


def notifications_lost(_argument: str) -> None:
    """No service is notified of new jobs."""
    put(postgres_connection.Database, "notify", lambda _self, _name: None)


def no_quarantine(_argument: str) -> None:
    """After each failover jobs are claimed at once."""
    plain = Quarantine.observe

    def observe(self: Quarantine, renewal: Renewal, **_named: bool) -> bool:
        return plain(self, renewal, lossless=True)

    put(Quarantine, "observe", observe)


DEFECTS: dict[str, Callable[[str], None]] = {
    defect.__name__: defect
    for defect in (
        no_fence, no_rescue, rescue_without_kill, alone_not_group, orphans_stay, zombies_are_dead,
        only_environment,
        told_before_commit, early_retry, uncounted_loss, output_once, printed_before_commit,
        all_instances_are_dead, any_lock_path, deleted_lock_is_death, any_journal_mode,
        removed_files_unnoticed, two_names_accepted, log_waits_for_its_reader,
        stop_waits_for_the_database, uncounted_moves,
        no_warden, leases_by_wall_clock, claims_not_durable, settled_without_token,
        notifications_lost, no_quarantine,
    )
}  # fmt: skip
