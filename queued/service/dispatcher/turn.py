"""One turn of the dispatcher: the writes of a transaction, and the messages after its commit.

A turn changes only the database. It returns its consequences (messages, claims, log lines), which
are used if the commit succeeds and dropped if it fails.
"""

from collections.abc import Collection, Sequence
from typing import TypeVar

from queued.core import times
from queued.core.errors import CommitUnknownError
from queued.core.hooks import hook_command, hook_job
from queued.core.model import Outcome, State
from queued.core.runs import Claim, Ending, Key
from queued.core.settings_in_force import Settings
from queued.core.settlement import Settlement, Verdict, describe, is_deferral, judge
from queued.service.dispatcher.claim_tokens import Tokens, token_time_s
from queued.service.dispatcher.end_condition import EndCondition
from queued.service.dispatcher.lost_claims import LostClaims
from queued.service.dispatcher.queue_claims import OpenQueues, QueueClaims
from queued.service.dispatcher.run_message import backoff_of, checked_run, input_of
from queued.service.dispatcher.turn_results import ClaimLoss, RecordedRun, Turn
from queued.service.dispatcher.worker_pool import WorkerPool
from queued.service.ipc.messages import (
    Hello,
    Message,
    Output,
    Recorded,
    Result,
    Returned,
    Stored,
    WorkerGone,
    WorkerStarted,
)
from queued.store.ledger import Ledger

Number = TypeVar("Number", int, float)

PROMOTED_AT_ONCE = 10_000
EXPIRED_AT_ONCE = 500
_CLOCK_MS = 10  # the clock of a server may be behind what is known of it, far if it was set back
MOST_INTERRUPTIONS = 10  # of a job in a row; the next one is counted as a failed run


class TurnRunner:
    """Runs turns: settles, stores and claims for one instance."""

    def __init__(self, ledger: Ledger, instance: str, end: EndCondition | None = None) -> None:
        self._ledger = ledger
        self._end = end
        self._instance = instance
        self._tokens = Tokens()
        self._queue_claims = QueueClaims(ledger, instance)
        self._lost_claims = LostClaims(ledger, instance)
        self._commit_unknown = False  # whether a turn that seemed to fail may have been committed

    def turn(
        self,
        pool: WorkerPool,
        settings: Settings,
        *,
        queues: OpenQueues,
        restoring: bool,
        now_ms: int,
    ) -> Turn:
        """Handles the inbox, then claims jobs of these queues for the workers that have room.

        `restoring`: the database may lack commits of this instance
        after a failover. Call it inside a transaction.
        """
        turn = Turn(pool.claims, settings, now_ms)
        if restoring:
            lost = "the record of its end was lost in a failover"
            for claim in self._lost_claims.restore(turn, pool):
                self.settle(turn, claim, Ending(Outcome.INTERRUPTED, error=lost))
        elif self._commit_unknown:
            self._release_unknown(turn)
        for worker, message in pool.inbox:
            self._write(turn, worker, message)
        self._store_output(turn)
        self.record(turn)
        self._promote(turn)
        told = len(turn.finished)
        if queues.lanes:
            self._expire(turn)
            self._claim(turn, pool.present(), queues)
        if turn.finished[told:]:
            turn.wake_at(turn.now_ms)  # other jobs may wait for these ends
        for worker, keys in turn.pending_acks.items():
            for key in keys:
                turn.reply(worker, Recorded(key=key, accepted=True))
        return turn

    def on_rollback(self, error: Exception) -> None:
        """Notes if the transaction of a turn may have been committed in spite of the error."""
        self._commit_unknown |= isinstance(error, CommitUnknownError)

    def on_committed(self) -> None:
        """Forgets what `on_rollback` noted, because a later transaction was committed."""
        self._commit_unknown = False

    def full_queues(self) -> Collection[str]:
        """Returns the queues whose rates allow no start now, as the last claim has found."""
        full, now_ms = self._queue_claims.full, self._ledger.now_ms()
        return [name for name, one in full.items() if one.next_ms and one.next_ms > now_ms]

    def on_rescued(self, turn: Turn) -> None:
        """Counts the dead jobs of a turn that has settled the claims of a dead instance."""
        if self._end is not None:
            self._end.count_dead(turn)

    def _release_unknown(self, turn: Turn) -> None:
        """Undoes claims of a turn that seemed to fail and was committed: no worker has them."""
        known = {claim.key for claim in turn.claims}
        for claim in self._ledger.running_claims(self._instance):
            if claim.key not in known:
                turn.claims.add(claim)
                self._give_back(turn, claim)

    def _write(self, turn: Turn, worker: int, message: Message) -> None:
        match message:
            case Result():
                self._result(turn, worker, message)
            case Returned():
                self._returned(turn, worker, message.key)
            case Output():
                self._output(turn, worker, message)
            case Hello():
                self._hello(turn, worker, message)
            case WorkerStarted():
                self._ledger.worker_started(self._instance, worker, message.pid, now_ms=turn.now_ms)
            case WorkerGone():
                self._gone(turn, worker, message)

    def _result(self, turn: Turn, worker: int, result: Result) -> None:
        claim = turn.claims.find(worker, result.key)
        if claim is None:
            turn.stale[result.key] = result.id
            turn.reply(worker, Recorded(key=result.key, accepted=False))
            return
        turn.claims.note_run(worker, result.ending.ran_ms)
        for piece in result.pieces:
            turn.add_output(claim, piece)
        turn.ack_due.add(claim.key)
        self.settle(turn, claim, result.ending)

    def _output(self, turn: Turn, worker: int, output: Output) -> None:
        claim = turn.claims.find(worker, output.key)
        if claim is None:
            return
        turn.add_output(claim, output.piece)
        chunk = output.piece.chunk
        end = chunk.position + len(chunk.content)
        turn.reply(worker, Stored(key=output.key, stream=chunk.stream, end=end))

    def _store_output(self, turn: Turn) -> None:
        """Stores all pieces at once, before the claims are settled and no longer in force."""
        if turn.printed:
            self._ledger.store_output([(claim.key, chunk) for claim, chunk in turn.printed])
        for (key, stream), piece in turn.gaps.items():
            self._ledger.trim_output(
                key, stream, head_end=piece.head_end, tail_start=piece.tail_start
            )

    def _hello(self, turn: Turn, worker: int, hello: Hello) -> None:
        """Compares what a worker holds with the claims of the table.

        Claims that the worker holds and the table lacks are stale, unless they were lost in a
        failover and can be recorded again. Claims that the worker does not hold are interrupted:
        they never reached it, or an earlier worker died with them.
        """
        for run in hello.holding:
            if run.key in hello.begun and turn.claims.find(worker, run.key) is None:
                self._lost_claims.restore_begun(turn, worker, run)
            if turn.claims.find(worker, run.key) is None:
                turn.stale[run.key] = run.id
                turn.reply(worker, Recorded(key=run.key, accepted=False))
        held = {run.key for run in hello.holding}
        for claim in turn.claims.of(worker):
            if claim.key not in held:
                self.settle(turn, claim, Ending(Outcome.INTERRUPTED))

    def _returned(self, turn: Turn, worker: int, key: Key) -> None:
        turn.claims.note_run(worker, None)
        claim = turn.claims.find(worker, key)
        if claim is not None:
            self._give_back(turn, claim)
        turn.pending_acks.setdefault(worker, []).append(key)

    def _give_back(self, turn: Turn, claim: Claim) -> None:
        """Undoes a claim that was certainly never started.

        A claim that a worker does not hold may have been started by an earlier worker.
        """
        if self._ledger.unclaim(claim.key, now_ms=turn.now_ms):
            turn.claims.remove(claim)
            turn.returned.append(claim)
        else:
            self.settle(turn, claim, Ending(Outcome.CANCELLED))

    def _gone(self, turn: Turn, worker: int, gone: WorkerGone) -> None:
        """Settles a dead worker's claims, or undoes them if it exited without starting them."""
        self._ledger.worker_gone(self._instance, worker)
        claims = [
            c for c in turn.claims.of(worker) if token_time_s(c.key.token) <= gone.claims_before_s
        ]
        if not gone.clean:
            begun = None if gone.begun is None else [gone.begun]
            self.settle_lost(turn, claims, ClaimLoss("its worker died", begun))
            return
        for claim in claims:
            if turn.claims.is_inherited(claim):
                self.settle(turn, claim, Ending(Outcome.INTERRUPTED))
            else:
                self._give_back(turn, claim)

    def settle_lost(self, turn: Turn, claims: Sequence[Claim], loss: ClaimLoss) -> None:
        """Settles the claims of a dead worker. The claim that it had begun is lost, and counted.

        If that is not known, it is the oldest claim. The others are interrupted, and not counted:
        the results of earlier claims had not arrived, and later claims had not begun.
        """
        lost = claims[:1]
        if loss.begun is not None:
            lost = [claim for claim in claims if claim.key.token in loss.begun]
        for claim in claims:
            outcome = Outcome.LOST if claim in lost else Outcome.INTERRUPTED
            self.settle(turn, claim, Ending(outcome, error=loss.why))

    def settle(self, turn: Turn, claim: Claim, ending: Ending) -> None:
        """Removes the claim; `record` writes its end to the database, with those of all others."""
        ending = self._bounded(claim, ending)
        deferrals = self._ledger.deferrals(claim.key.job) if is_deferral(claim, ending) else 0
        backoff = backoff_of(claim, turn.settings)
        verdict = judge(claim, ending, backoff, now_ms=turn.now_ms, deferrals=deferrals)
        turn.claims.remove(claim)
        turn.settled.append(Settlement(claim, ending, verdict))

    def _bounded(self, claim: Claim, ending: Ending) -> Ending:
        """Returns the ending; `lost` if the job was interrupted too often in a row.

        An interruption is not counted, so a job that stops its own service would run for ever.
        """
        if ending.outcome is not Outcome.INTERRUPTED:
            return ending
        if self._ledger.interruptions(claim.key.job) < MOST_INTERRUPTIONS:
            return ending
        error = f"interrupted {MOST_INTERRUPTIONS + 1} times in a row"
        return ending._replace(outcome=Outcome.LOST, error=error)

    def record(self, turn: Turn) -> None:
        """Writes the ends of all settled claims, and enqueues the hooks of the jobs that ended.

        Claims that are no longer in force are stale.
        """
        settled, turn.settled = turn.settled, []
        before = len(turn.finished)
        states = self._ledger.settle(settled, now_ms=turn.now_ms)
        for settlement, state in zip(settled, states, strict=True):
            claim = settlement.claim
            ack_due = claim.key in turn.ack_due
            if state is None:
                turn.stale[claim.key] = claim.id
                if ack_due:
                    turn.reply(claim.worker, Recorded(key=claim.key, accepted=False))
                continue
            turn.finished.append(RecordedRun(*settlement, state))
            self._queue_claims.on_ended(claim.queue)
            if ack_due:
                turn.pending_acks.setdefault(claim.worker, []).append(claim.key)
        self._enqueue_hooks(turn, turn.finished[before:])

    def _enqueue_hooks(self, turn: Turn, recorded: list[RecordedRun]) -> None:
        hooks = [
            hook_job(command, run.claim, run.ending, run.verdict)
            for run in recorded
            if (command := hook_command(run.claim, run.state, turn.settings))
            and not self._ledger.recorded_before(run.claim.key)  # and its hook enqueued
        ]
        if hooks:
            most = turn.settings.default_max_retries
            made = self._ledger.enqueue(hooks, max_retries=most, now_ms=turn.now_ms)
            turn.lanes_made |= made

    def _promote(self, turn: Turn) -> None:
        turn.next_due_ms = self._ledger.promote(now_ms=turn.now_ms, limit=PROMOTED_AT_ONCE)

    def _expire(self, turn: Turn) -> None:
        """Ends a bounded number of jobs that were not started in time."""
        due_ms = self._ledger.next_expiry()
        if due_ms is not None and due_ms <= turn.now_ms:
            token = self._tokens.reserve(times.monotonic_s(), EXPIRED_AT_ONCE)
            for claim in self._ledger.expire(
                self._instance, token, now_ms=turn.now_ms, limit=EXPIRED_AT_ONCE
            ):
                turn.claims.add(claim)
                self.settle(turn, claim, Ending(Outcome.EXPIRED, error="not started in time"))
            self.record(turn)
            self._promote(turn)  # an expired job may have had a place of its key
            due_ms = self._ledger.next_expiry()
        turn.wake_at(due_ms)

    def _claim(self, turn: Turn, workers: list[int], queues: OpenQueues) -> None:
        """Claims jobs for workers that have none, then prefetched jobs for quick workers."""
        assignable = list(turn.claims.assignable(workers))
        if self._end is not None:
            assignable = self._end.within(turn, assignable)
        if not assignable:
            return
        token = self._tokens.reserve(times.monotonic_s(), len(assignable))
        idle = sum(not turn.claims.of(worker) for worker in workers)
        turn.claimed = self._queue_claims.claim(queues, assignable, idle, token, now_ms=turn.now_ms)
        turn.wake_at(self._ledger.queues.take_retry_ms())
        for window in self._queue_claims.full.values():
            if window.waiting:
                turn.rate_waits = True
                turn.wake_at(max(window.next_ms or 0, turn.now_ms + _CLOCK_MS))
        if self._end is not None and self._end.drains:
            lanes = [lane for numbers in queues.lanes.values() for lane in numbers]
            turn.rate_waits |= self._ledger.queues.rate_waits(lanes)
            by_ms = self._end.due_by_ms(turn.now_ms)
            turn.time_waits = by_ms is not None and self._ledger.queues.time_waits(lanes, by_ms)
        for claim in turn.claimed:
            acks = turn.pending_acks.get(claim.worker, [])  # the Run message carries them
            try:
                begun = claim._replace(expires_ms=self._ledger.host_ms(claim.expires_ms))
                run = checked_run(begun, turn.settings, acks)
                text = self._ledger.input(claim.key.job) if claim.options.stdin_bytes else b""
                pieces = input_of(claim, text)
            except (ValueError, TypeError, OverflowError) as error:
                self._bury(turn, claim, str(error))
                continue
            turn.claims.add(claim)
            turn.pending_acks.pop(claim.worker, None)
            for piece in pieces:
                turn.reply(claim.worker, piece)
            turn.reply(claim.worker, run)
        self.record(turn)

    def _bury(self, turn: Turn, claim: Claim, reason: str) -> None:
        """Settles a claim that cannot be sent to a worker: its job is dead."""
        ending = Ending(Outcome.SPAWN_ERROR, error=reason)
        turn.wake_at(turn.now_ms)  # to give the place of its key, if any, to another job
        verdict = Verdict(State.DEAD, 1, claim.due_ms, describe(ending))
        turn.settled.append(Settlement(claim, ending, verdict))
