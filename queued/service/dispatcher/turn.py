"""One turn of the dispatcher: what one transaction does, and what may be told after its commit.

A turn changes nothing but the database. What follows from it (messages, claims, log lines) is
returned, to be used if the commit succeeds and to be thrown away if not.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from queued.core import times
from queued.core.model import Chunk, Claim, Ending, Key, Outcome, State
from queued.core.settings import Settings
from queued.core.settlement import Backoff, Verdict, judge
from queued.service.dispatcher.claim_tokens import Tokens, made_s
from queued.service.dispatcher.claims import ClaimTable
from queued.service.dispatcher.worker_pool import WorkerPool
from queued.service.ipc.messages import (
    Hello,
    Message,
    Output,
    Piece,
    Recorded,
    Result,
    Returned,
    Run,
    Stored,
    WorkerGone,
    WorkerStarted,
)
from queued.store.protocols import Ledger, Settlement

PROMOTED_AT_ONCE = 10_000


class RecordedRun(NamedTuple):
    """A run that was recorded."""

    claim: Claim
    ending: Ending
    verdict: Verdict
    state: State


class ClaimLoss(NamedTuple):
    """How a worker ended, and with which tokens claims were begun last, if that is known."""

    why: str
    begun: Collection[int] | None


class Turn:
    """The consequences of one transaction."""

    def __init__(self, claims: ClaimTable) -> None:
        self.claims = claims.copy()
        self.claimed: list[Claim] = []
        self.returned: list[Claim] = []
        self.settled: list[Settlement] = []  # and not yet recorded
        self.owed: set[Key] = set()  # whose worker waits to hear of it
        self.finished: list[RecordedRun] = []
        self.lost: list[Key] = []
        self.printed: list[tuple[Claim, Chunk]] = []
        self.replies: dict[int, list[Message]] = {}
        self.recorded: dict[int, list[Key]] = {}  # whose worker is not told by a reply yet
        self.next_due_ms: int | None = None

    def reply(self, worker: int, message: Message) -> None:
        """To be sent after the commit."""
        self.replies.setdefault(worker, []).append(message)


class TurnRunner:
    """Does turns: settles, stores and claims for one instance."""

    def __init__(self, ledger: Ledger, instance: str) -> None:
        self._ledger = ledger
        self._instance = instance
        self._tokens = Tokens()

    def turn(
        self,
        pool: WorkerPool,
        settings: Settings,
        *,
        claiming: bool,
        now_ms: int,
    ) -> Turn:
        """All that the crew's inbox asks for, then jobs for the workers that may have one."""
        turn = Turn(pool.claims)
        for worker, message in pool.inbox:
            self._write(turn, worker, message, settings, now_ms)
        self.record(turn, now_ms)
        turn.next_due_ms = self._ledger.promote(now_ms=now_ms, limit=PROMOTED_AT_ONCE)
        if claiming:
            self._claim(turn, pool.present(), settings, now_ms)
        for worker, keys in turn.recorded.items():
            for key in keys:
                turn.reply(worker, Recorded(key=key, accepted=True))
        return turn

    def _write(
        self, turn: Turn, worker: int, message: Message, settings: Settings, now_ms: int
    ) -> None:
        match message:
            case Result():
                self._result(turn, worker, message, settings, now_ms)
            case Returned():
                self._returned(turn, worker, message.key, settings, now_ms)
            case Output():
                self._output(turn, worker, message)
            case Hello():
                self._hello(turn, worker, message, settings, now_ms)
            case WorkerStarted():
                self._ledger.worker_started(self._instance, worker, message.pid, now_ms=now_ms)
            case WorkerGone():
                self._gone(turn, worker, message, settings, now_ms)

    def _result(
        self, turn: Turn, worker: int, result: Result, settings: Settings, now_ms: int
    ) -> None:
        claim = turn.claims.find(worker, result.key)
        if claim is None:
            turn.lost.append(result.key)
            turn.reply(worker, Recorded(key=result.key, accepted=False))
            return
        turn.claims.ran(worker, result.ending.ran_ms)
        for piece in result.pieces:
            self._store(turn, claim, piece)
        turn.owed.add(claim.key)
        self.settle(turn, claim, result.ending, settings, now_ms)

    def _output(self, turn: Turn, worker: int, output: Output) -> None:
        claim = turn.claims.find(worker, output.key)
        if claim is None:
            return
        self._store(turn, claim, output.piece)
        chunk = output.piece.chunk
        end = chunk.position + len(chunk.content)
        turn.reply(worker, Stored(key=output.key, stream=chunk.stream, end=end))

    def _store(self, turn: Turn, claim: Claim, piece: Piece) -> None:
        key = claim.key
        turn.printed.append((claim, piece.chunk))
        self._ledger.store_output(key, piece.chunk)
        if piece.tail_start > piece.head_end:
            self._ledger.trim_output(
                key, piece.chunk.stream, head_end=piece.head_end, tail_start=piece.tail_start
            )

    def _hello(
        self, turn: Turn, worker: int, hello: Hello, settings: Settings, now_ms: int
    ) -> None:
        """What it holds and should not is lost; what it does not hold, nobody runs.

        That never reached it, or was run by one before it that died unseen.
        """
        for key in hello.holding:
            if turn.claims.find(worker, key) is None:
                turn.lost.append(key)
                turn.reply(worker, Recorded(key=key, accepted=False))
        for claim in turn.claims.of(worker):
            if claim.key not in hello.holding:
                self.settle(turn, claim, Ending(Outcome.INTERRUPTED), settings, now_ms)

    def _returned(self, turn: Turn, worker: int, key: Key, settings: Settings, now_ms: int) -> None:
        turn.claims.ran(worker, None)
        claim = turn.claims.find(worker, key)
        if claim is not None:
            self._give_back(turn, claim, settings, now_ms)
        turn.recorded.setdefault(worker, []).append(key)

    def _give_back(self, turn: Turn, claim: Claim, settings: Settings, now_ms: int) -> None:
        """It is known that it was never started: as if it had not been claimed.

        That a worker merely does not hold it proves nothing: it may have come after another.
        """
        if self._ledger.release(claim.key, now_ms=now_ms):
            turn.claims.drop(claim)
            turn.returned.append(claim)
        else:
            self.settle(turn, claim, Ending(Outcome.CANCELLED), settings, now_ms)

    def _gone(
        self, turn: Turn, worker: int, gone: WorkerGone, settings: Settings, now_ms: int
    ) -> None:
        """Nothing of the worker lives. If it left cleanly, it never started what we sent it."""
        self._ledger.worker_gone(self._instance, worker)
        claims = [c for c in turn.claims.of(worker) if made_s(c.key.token) <= gone.until_s]
        if not gone.clean:
            begun = None if gone.begun is None else [gone.begun]
            self.bury(turn, claims, ClaimLoss("its worker died", begun), settings, now_ms)
            return
        for claim in claims:
            if turn.claims.inherited(claim):
                self.settle(turn, claim, Ending(Outcome.INTERRUPTED), settings, now_ms)
            else:
                self._give_back(turn, claim, settings, now_ms)

    def bury(
        self, turn: Turn, claims: Sequence[Claim], death: ClaimLoss, settings: Settings, now_ms: int
    ) -> None:
        """Settles what a dead worker held. What it was at is lost: the oldest, if nobody knows.

        Results of those before that were on their way, and those after were in its hand: these
        attempts stay in the history, and do not count.
        """
        lost = claims[:1]
        if death.begun is not None:
            lost = [claim for claim in claims if claim.key.token in death.begun]
        for claim in claims:
            outcome = Outcome.LOST if claim in lost else Outcome.INTERRUPTED
            self.settle(turn, claim, Ending(outcome, error=death.why), settings, now_ms)

    def settle(
        self, turn: Turn, claim: Claim, ending: Ending, settings: Settings, now_ms: int
    ) -> None:
        """Nobody holds the claim any more. `record` writes that down, with whatever else ended."""
        verdict = judge(claim, ending, backoff_of(claim, settings), now_ms=now_ms)
        turn.claims.drop(claim)
        turn.settled.append(Settlement(claim, ending, verdict))

    def record(self, turn: Turn, now_ms: int) -> None:
        """Records all that was settled; a claim that was not in force any more was lost."""
        states = self._ledger.settle(turn.settled, now_ms=now_ms)
        for settlement, state in zip(turn.settled, states, strict=True):
            claim = settlement.claim
            owed = claim.key in turn.owed
            if state is None:
                turn.lost.append(claim.key)
                if owed:
                    turn.reply(claim.worker, Recorded(key=claim.key, accepted=False))
                continue
            turn.finished.append(RecordedRun(*settlement, state))
            if owed:
                turn.recorded.setdefault(claim.worker, []).append(claim.key)

    def _claim(self, turn: Turn, workers: list[int], settings: Settings, now_ms: int) -> None:
        """First a job for everybody who has none, then more for those who are quick, by turns."""
        takers = list(turn.claims.room(workers))
        if not takers:
            return
        token = self._tokens.make(times.monotonic_s(), len(takers))
        turn.claimed = self._ledger.claim(self._instance, takers, token, now_ms=now_ms)
        for claim in turn.claimed:
            turn.claims.take(claim)
            recorded = turn.recorded.pop(claim.worker, [])  # a run says it, too
            turn.reply(claim.worker, run_of(claim, settings, recorded))


def backoff_of(claim: Claim, settings: Settings) -> Backoff:
    """The job's own retry delay where it gave one, else the setting of the moment."""
    usual = Backoff(settings.backoff_base, settings.backoff_max, settings.backoff_jitter)
    own = claim.options
    if not own:
        return usual
    return Backoff(
        float(own.get("backoff_base", usual.base)),  # type: ignore[arg-type]
        float(own.get("backoff_max", usual.maximum)),  # type: ignore[arg-type]
        float(own.get("backoff_jitter", usual.jitter)),  # type: ignore[arg-type]
    )


def run_of(claim: Claim, settings: Settings, recorded: list[Key]) -> Run:
    """What a worker needs to know of a claim."""
    options = claim.options
    timeout_s, kill_grace_s = settings.default_timeout, settings.kill_grace
    output_limit = settings.output_limit
    if options:
        timeout_s = float(options.get("timeout", timeout_s))  # type: ignore[arg-type]
        kill_grace_s = float(options.get("kill_grace", kill_grace_s))  # type: ignore[arg-type]
        output_limit = int(options.get("output_limit", output_limit))  # type: ignore[call-overload]
    return Run(
        key=claim.key,
        recorded=recorded,
        id=claim.id,
        queue=claim.queue,
        command=claim.command,
        max_retries=claim.max_retries,
        timeout_s=timeout_s,
        kill_grace_s=kill_grace_s,
        output_limit=output_limit,
        clean=settings.environment == "clean",
        options=options,
    )
